//! Tables as restic prints them. `VolSync` cuts the one of `snapshots` with `grep` and `awk`: id, date and time have to be
//! the first three words of a line that names the path.

/// A cell: lines one below the other.
pub(crate) type Cell = Vec<String>;

/// A table with a header, a line below it, rows, a line, and a footer.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<Cell>>,
    footer: Vec<String>,
    spaced: bool,
}

impl Table {
    /// A table with these columns; trailing blanks of a name are its least width.
    pub(crate) fn new(header: &[&str]) -> Self {
        let header = header.iter().map(|&name| name.to_owned()).collect();
        Self { header, rows: Vec::new(), footer: Vec::new(), spaced: false }
    }

    /// Adds a row of as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Adds a line below the table.
    pub(crate) fn footer(&mut self, line: impl Into<String>) {
        self.footer.push(line.into());
    }

    /// Puts an empty line between rows.
    pub(crate) fn spaced(&mut self, spaced: bool) {
        self.spaced = spaced;
    }

    /// The lines of the table.
    pub(crate) fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1));
        let header: Vec<Cell> = self.header.iter().map(|name| vec![name.clone()]).collect();
        let mut lines = row_lines(&header, &widths);
        lines.push(rule.clone());
        for (number, row) in self.rows.iter().enumerate() {
            if self.spaced && number > 0 {
                lines.push(String::new());
            }
            lines.extend(row_lines(row, &widths));
        }
        lines.push(rule);
        lines.extend(self.footer.iter().cloned());
        lines
    }

    fn widths(&self) -> Vec<usize> {
        let of_column = |(column, name): (usize, &String)| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).flatten();
            cells.map(|line| width(line)).chain([width(name)]).max().unwrap_or(0)
        };
        self.header.iter().enumerate().map(of_column).collect()
    }
}

fn row_lines(cells: &[Cell], widths: &[usize]) -> Vec<String> {
    let height = cells.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let line = |number: usize| {
        let parts: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, column)| {
                let text = cell.get(number).map_or("", String::as_str);
                format!("{text}{}", " ".repeat(column.saturating_sub(width(text))))
            })
            .collect();
        parts.join("  ").trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> Cell {
        text.split('\n').map(str::to_owned).collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_line() {
        let mut table = Table::new(&["ID", "Host      ", "Paths"]);
        table.row(vec![cell("12ab34cd"), cell("h"), cell("/data")]);
        table.row(vec![cell("ffffffff"), cell("a-long-host"), cell("/a\n/größe")]);
        table.footer("2 snapshots");
        assert_eq!(
            table.lines(),
            [
                "ID        Host         Paths",
                "-----------------------------",
                "12ab34cd  h            /data",
                "ffffffff  a-long-host  /a",
                "                       /größe",
                "-----------------------------",
                "2 snapshots",
            ]
        );
    }

    #[test]
    fn a_table_without_rows_has_its_header() {
        let mut table = Table::new(&["ID", "Time"]);
        table.footer("0 snapshots");
        assert_eq!(table.lines(), ["ID  Time", "--------", "--------", "0 snapshots"]);
    }
}
