//! Columns by spaces, as the docker CLI's tabwriter puts them (minimal width 10, padding 3).

/// A column's least width, its padding included.
const LEAST: usize = 10;
/// Spaces after the widest cell of a column.
const PADDING: usize = 3;

/// Aligns tab-separated cells. The last cell of a line is followed by nothing.
pub(crate) fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let mut out = String::with_capacity(text.len() * 2);
    let mut widths: Vec<usize> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let columns = line.len() - 1;
        for (column, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if column == columns {
                break;
            }
            // A column is a run of lines that have it; its width holds for that run.
            let runs_on = index > 0 && lines[index - 1].len() > column + 1;
            if !runs_on || widths.len() <= column {
                widths.truncate(column);
                widths.push(run_width(&lines[index..], column));
            }
            let fill = widths[column].saturating_sub(cell.chars().count());
            out.extend(std::iter::repeat_n(' ', fill));
        }
        out.push('\n');
    }
    out
}

/// The width of a column over the lines in a row that have it.
fn run_width(lines: &[Vec<&str>], column: usize) -> usize {
    let run = lines.iter().take_while(|line| line.len() > column + 1);
    let widest = run
        .map(|line| line[column].chars().count())
        .max()
        .unwrap_or_default();
    (widest + PADDING).max(LEAST)
}

#[cfg(test)]
mod tests;
