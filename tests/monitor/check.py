"""The rules and the dashboard by promtool, the metrics by Prometheus's parsers, the page in headless Chromium. See `run`."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

import yaml
from prometheus_client.parser import text_string_to_metric_families
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROMTOOL = f"{os.environ['MONITOR']}/deb/usr/bin/promtool"
DEPLOY = f"{TOP}/deploy/monitoring"
SHOTS = sys.argv[1] if len(sys.argv) > 1 else None
LABELS = {"obj_name", "obj_namespace", "role", "method"}
# Of other programs: Prometheus itself, and kube-state-metrics.
THEIRS = {"up", "kube_job_status_failed", "kube_cronjob_status_last_successful_time", "kube_cronjob_created", "kube_cronjob_spec_suspend"}
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}


class Site:
    """The made-up status page; ends with its standard input."""

    def __init__(self, *words):
        self.process = subprocess.Popen([os.environ["STATUS_PAGE"], "127.0.0.1:0", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), "the page did not start"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)

    def text(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read().decode()


def promtool(*words, feed=None):
    done = subprocess.run([PROMTOOL, *words], input=feed, capture_output=True, text=True, cwd=DEPLOY, timeout=120)
    assert done.returncode == 0, f"promtool {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def names_in(expression):
    """Metrics of an expression: words before a brace or a bracket, or with our prefixes."""
    return set(re.findall(r"\b(?:volvault|volsync|kube)_\w+|\bup\b", expression))


def the_rules_hold():
    found = promtool("check", "rules", "volvault.rules.yaml")
    assert "SUCCESS" in found, found
    assert "SUCCESS" in promtool("test", "rules", "volvault.rules.test.yaml")
    with open(f"{DEPLOY}/volvault.rules.yaml") as file:
        alerts = {rule["alert"] for group in yaml.safe_load(file)["groups"] for rule in group["rules"]}
    with open(f"{DEPLOY}/volvault.rules.test.yaml") as file:
        tested = {test["alertname"] for group in yaml.safe_load(file)["tests"] for test in group["alert_rule_test"] if test["exp_alerts"]}
    assert alerts == tested, f"alerts without a test that they come: {alerts - tested}"


def families(text):
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.name not in found, f"{family.name} twice"
        assert family.documentation, f"{family.name} is not explained"
        found[family.name] = family
    return found


def the_metrics_are_read_by_prometheus():
    with Site() as site, Site("hostile") as hostile:
        for one in (site, hostile):
            text = one.text("/metrics")
            promtool("check", "metrics", feed=text)
            found = families(text)
            for name, family in found.items():
                for sample in family.samples:
                    if name not in ("volvault_info", "volvault_start_time_seconds"):
                        assert LABELS <= set(sample.labels), (name, sample)
        found = families(site.text("/metrics"))
        kinds = {name: found[name].type for name in ("volsync_missed_intervals", "volsync_volume_out_of_sync", "volsync_sync_duration_seconds")}
        assert kinds == {"volsync_missed_intervals": "counter", "volsync_volume_out_of_sync": "gauge", "volsync_sync_duration_seconds": "summary"}, kinds
        quantiles = {sample.labels["quantile"] for sample in found["volsync_sync_duration_seconds"].samples if "quantile" in sample.labels}
        assert quantiles == {"0.5", "0.9", "0.99"}, quantiles
        attacked = families(hostile.text("/metrics"))["volvault_running"].samples[0].labels["obj_name"]
        assert attacked.startswith('"><script>') and attacked.endswith("\\\n# HELP x"), attacked


def every_metric_that_is_asked_for_is_there():
    with Site() as site:
        there = {sample.name for family in families(site.text("/metrics")).values() for sample in family.samples}
    with open(f"{DEPLOY}/volvault.rules.yaml") as file:
        rules = [rule["expr"] for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]
    with open(f"{DEPLOY}/grafana-dashboard.json") as file:
        dashboard = json.load(file)
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for expression in rules + queries:
        assert names_in(expression) and names_in(expression) <= there | THEIRS, f"{expression}: {names_in(expression) - there - THEIRS}"
    # As rules, so that promtool reads the queries; what Grafana puts in for its variables does not matter to that.
    plain = [re.sub(r"\$__rate_interval", "5m", query) for query in queries]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": [{"record": f"r:{n}", "expr": query} for n, query in enumerate(plain)]}]}, file)
        file.flush()
        promtool("check", "rules", file.name)
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places) and len({panel["id"] for panel in dashboard["panels"]}) == len(places)


class Browser:
    """Headless Chromium with a profile that is thrown away."""

    def __init__(self, size, scheme):
        self.profile = tempfile.mkdtemp(prefix="volvault-browser-")
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for word in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
                     "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={self.profile}"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.width, height = SIZES[size]
        self.driver.set_page_load_timeout(120)
        metrics = {"width": self.width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)

    def open(self, url):
        self.driver.get(url)
        wrong = [entry["message"] for entry in self.driver.get_log("browser")]
        assert wrong == [], wrong

    def css(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def fits(self):
        width = self.driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= self.width, f"the page is {width} wide, the window {self.width}"

    def shot(self, name):
        if SHOTS:
            os.makedirs(SHOTS, exist_ok=True)
            height = self.driver.execute_script("return document.documentElement.scrollHeight")
            clip = {"x": 0, "y": 0, "width": self.width, "height": min(height, 4000), "scale": 1}
            image = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})["data"]
            with open(f"{SHOTS}/{name}.png", "wb") as file:
                file.write(base64.b64decode(image))

    def contrasts(self):
        """Text whose colour is too near to that of its ground, by WCAG 2 AA."""
        return self.driver.execute_script(CONTRASTS)


CONTRASTS = """
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = element => { for (; element; element = element.parentElement) { const c = rgb(getComputedStyle(element).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
const wrong = [];
for (const element of document.querySelectorAll('body *')) {
  if (![...element.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || element.closest('svg')) continue;
  const [a, b] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) wrong.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}: ${element.textContent.slice(0, 40)}`);
}
return wrong;
"""


def the_page_is_readable_in_both_colours_at_both_widths():
    grounds = set()
    with Site() as site:
        for scheme in ("light", "dark"):
            for size in SIZES:
                with Browser(size, scheme) as browser:
                    browser.open(site.url + "/")
                    assert browser.driver.title == "1 failed · volvault", browser.driver.title
                    assert len(browser.css("article")) == 8 and len(browser.css("section")) == 2
                    states = {element.text for element in browser.css(".state")}
                    assert states == {"✓ In sync", "▶ Running", "✕ Failed", "❚❚ Paused", "! Out of sync", "… Waiting", "○ Not run yet"}, states
                    assert len(browser.css("svg")) == 21 and len(browser.css("svg[role=img][aria-label]")) == 21
                    assert browser.css("svg")[0].size["width"] > 150 and browser.css("rect.bar")[0].size["height"] > 0
                    assert "the store refuses the credentials" in browser.css("article.failed pre")[0].text, "the log of a failure is open"
                    assert browser.contrasts() == [], browser.contrasts()
                    browser.fits()
                    browser.shot(f"{scheme}-{size}")
                    browser.css("article:nth-of-type(1) details summary")[0].click()
                    assert len(browser.css("article:nth-of-type(1) table tbody tr")) >= 20
                    browser.fits()
                    browser.shot(f"{scheme}-{size}-open")
                    grounds.add((scheme, browser.css("body")[0].value_of_css_property("background-color")))
                    browser.open(site.url + "/?refresh")
                    assert browser.css("meta[http-equiv=refresh]") and browser.css("nav a")[0].text == "Stop refreshing"
    assert len(grounds) == 2, grounds


def hostile_names_are_only_text():
    with Site("hostile") as site, Browser("phone", "light") as browser:
        browser.open(site.url + "/")
        assert "owned" not in browser.driver.title and len(browser.css("article")) == 2
        assert not browser.css("script") and not browser.css("img")
        assert "<script>document.title='owned'</script>" in browser.css("h3")[0].text
        browser.fits()
        browser.shot("hostile")


if __name__ == "__main__":
    failed = 0
    for test in (the_rules_hold, the_metrics_are_read_by_prometheus, every_metric_that_is_asked_for_is_there,
                 the_page_is_readable_in_both_colours_at_both_widths, hostile_names_are_only_text):
        start = time.monotonic()
        try:
            test()
            print(f"ok     {test.__name__}  {time.monotonic() - start:.1f} s", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {test.__name__}", flush=True)
            traceback.print_exc()
    sys.exit(1 if failed else 0)
