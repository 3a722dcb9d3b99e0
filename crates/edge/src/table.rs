use unicode_width::UnicodeWidthStr;

/// Rows under a head, in columns. The cells are safe to show already.
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut all = vec![head.map(str::to_owned)];
    all.extend(rows);
    let mut widths = [0; N];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.width())));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn a_table_has_columns_whatever_the_script() {
        let rows = [["alice", "38ms", ""], ["日本語", "-", "yes"]].map(|row| row.map(str::to_owned));
        let expected = "\
NAME    RTT   SECURE
alice   38ms
日本語  -     yes";
        assert_eq!(table(["NAME", "RTT", "SECURE"], rows), expected);
    }
}
