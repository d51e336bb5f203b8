// Writes tests/it/cron/robfig.txt: what robfig/cron v3 answers, which VolSync reads its schedules with.
//
//	go mod init oracle && go get github.com/robfig/cron/v3@v3.0.1 && go run main.go > ../../it/cron/robfig.txt
//
// A line is a zone, a moment, a schedule and the three times after the moment, with tabs between them; `refused` where the schedule
// is none, `never` where none comes within five years. The same seed gives the same lines.
package main

import (
	"fmt"
	"math/rand"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

var zones = []string{
	"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "Asia/Beirut",
	"Africa/Cairo", "Pacific/Apia", "America/St_Johns", "Asia/Tehran", "America/Havana", "Pacific/Chatham", "Europe/Dublin",
}

// Just before a clock changes somewhere, or a month or a year ends.
var moments = []string{
	"2024-03-30T22:13:20Z", "2024-10-26T21:59:59Z", "2024-03-09T23:00:00Z", "2024-11-02T22:30:01Z", "2018-11-03T01:02:03Z",
	"2018-02-17T00:00:00Z", "2019-04-06T12:00:00Z", "2019-10-05T11:59:00Z", "2024-02-28T23:59:59Z", "2023-12-31T23:59:59Z",
	"2022-03-26T20:00:00Z", "2021-03-21T10:00:00Z", "2024-04-25T20:00:00Z", "2015-06-30T23:59:58Z", "2020-01-31T05:06:07Z",
}

var fields = []struct {
	least, most int
	names       []string
}{
	{0, 59, nil}, {0, 23, nil}, {1, 31, nil},
	{1, 12, strings.Fields("jan feb mar APR may Jun jul aug sep oct nov dec")},
	{0, 6, strings.Fields("sun mon TUE wed thu Fri sat")},
}

func piece(r *rand.Rand, n int) string {
	f := fields[n]
	number := func() string {
		value := f.least + r.Intn(f.most-f.least+1)
		if f.names != nil && r.Intn(3) == 0 {
			return f.names[value-f.least]
		}
		return fmt.Sprint(value)
	}
	switch r.Intn(12) {
	case 0, 1, 2, 3:
		return "*"
	case 4:
		return "?"
	case 5:
		return fmt.Sprintf("*/%d", 1+r.Intn(f.most+2))
	case 6:
		low, high := f.least+r.Intn(f.most-f.least+1), f.least+r.Intn(f.most-f.least+1)
		if low > high && r.Intn(10) > 0 {
			low, high = high, low
		}
		return fmt.Sprintf("%d-%d", low, high)
	case 7:
		return fmt.Sprintf("%s/%d", number(), 1+r.Intn(9))
	case 8:
		return number() + "," + number()
	default:
		return number()
	}
}

var odd = []string{
	"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@every 90m", "@every 1h2m3.9s", "@every 10ms", "@every -5m",
	"@every", "@every 5", "@reboot", "@Daily", "", "* * * *", "* * * * * *", "+5 * * * *", "05 * * * *", "*-5 * * * *", "1-5-9 * * * *", "1//2 * * * *",
	"*/0 * * * *", "*/-1 * * * *", "60 * * * *", "* 24 * * *", "* * 32 * *", "* * * 0 *", "* * * * 7", "5,,7 * * * *", "5, * * * *", "a * * * *",
	"* * * jan-mar mon-fri", "0 0 31 * *", "0 0 30 2 *", "0 0 29 2 *", "0 0 29 2 1", "0 0 13 * 5", "0 0 */2 * 1", "0 0 1-31 * 1", "TZ=Asia/Tokyo 0 6 * * *",
	"CRON_TZ=America/New_York 30 2 * * *", "TZ=UTC @daily", "TZ=Nowhere/Land 0 0 * * *", "  0   0  * * * ", "0\t0 * * *", "30 2 * * *", "30 1 * * *", "0 0 * * *",
	"15 0 * * *", "0 2 * * *", "45 1 * * *", "59 23 * * *", "0 3 * * 0", "1-59/2 2 * * *", "70/5 * * * *", "50/70 * * * *", "* * ? * ?",
}

func answer(parser cron.Parser, spec, zone, moment string) string {
	location, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	t, err := time.Parse(time.RFC3339, moment)
	if err != nil {
		panic(err)
	}
	schedule, err := parser.Parse(spec)
	if err != nil {
		return "refused"
	}
	t = t.In(location)
	times := []string{}
	for i := 0; i < 3; i++ {
		t = schedule.Next(t)
		if t.IsZero() {
			times = append(times, "never")
			break
		}
		times = append(times, t.UTC().Format(time.RFC3339))
	}
	return strings.Join(times, " ")
}

func main() {
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	r := rand.New(rand.NewSource(7))
	say := func(spec string, zone, moment string) {
		fmt.Printf("%s\t%s\t%q\t%s\n", zone, moment, spec, answer(parser, spec, zone, moment))
	}
	for _, spec := range odd {
		for i := 0; i < 4; i++ {
			say(spec, zones[r.Intn(len(zones))], moments[r.Intn(len(moments))])
		}
	}
	for i := 0; i < 1000; i++ {
		words := make([]string, 5)
		for n := range words {
			words[n] = piece(r, n)
		}
		// Mostly at the hours at which clocks change.
		if r.Intn(2) == 0 {
			words[1] = fmt.Sprint(r.Intn(5))
			words[2], words[3] = "*", "*"
		}
		say(strings.Join(words, " "), zones[r.Intn(len(zones))], moments[r.Intn(len(moments))])
	}
}
