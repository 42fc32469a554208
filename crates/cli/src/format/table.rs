//! Columns separated by three blanks, as wide as their widest cell; the last is not padded.

use std::fmt::Write as _;

/// Aligns `rows`, whose cells are separated by tabs, into text with a newline after each row.
pub fn align(rows: &[String]) -> String {
    const GAP: usize = 3;
    let cells: Vec<Vec<&str>> = rows.iter().map(|row| row.split('\t').collect()).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    // The last cell of a row does not widen its column: nothing follows it to be aligned.
    let width = |column: usize| {
        let width_of = |row: &Vec<&str>| match row.get(column) {
            Some(cell) if column + 1 < row.len() => cell.chars().count(),
            _ => 0,
        };
        cells.iter().map(width_of).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let pad = widths[column] + GAP - cell.chars().count();
                let _ = write!(text, "{:pad$}", "");
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_needed() {
        let rows = ["REPOSITORY\tTAG\tSIZE", "localhost/bb\tlatest\t1.99 MB"].map(str::to_owned);
        let expected = "REPOSITORY     TAG      SIZE\nlocalhost/bb   latest   1.99 MB\n";
        assert_eq!(align(&rows), expected);
    }
}
