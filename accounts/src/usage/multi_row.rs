//! Statements for many rows. Each exists in a few sizes, so that the database prepares it once per
//! connection and not once for each number of rows.

/// The numbers of rows of a statement.
const SIZES: [usize; 4] = [128, 16, 4, 1];

/// A statement with a list of rows, in each of its sizes.
pub(super) struct MultiRow([String; SIZES.len()]);

impl MultiRow {
    /// Each row has `columns` parameters, and `constants` after them. The rows come between `before`
    /// and `after`.
    pub(super) fn new(before: &str, columns: usize, constants: &str, after: &str) -> Self {
        Self(SIZES.map(|rows| {
            let row = |row: usize| {
                let parameters = (1..=columns).map(|column| format!("${}", row * columns + column));
                format!("({}{constants})", parameters.collect::<Vec<_>>().join(", "))
            };
            format!("{before} {} {after}", (0..rows).map(row).collect::<Vec<_>>().join(", "))
        }))
    }

    /// The statement for this many rows, which must be the length of a part from [`parts`].
    pub(super) fn text(&self, rows: usize) -> &str {
        let size = SIZES.iter().position(|size| *size == rows);
        debug_assert!(size.is_some(), "no statement has {rows} rows");
        size.map_or("", |size| &self.0[size])
    }
}

/// Splits rows into parts for which there is a statement.
pub(super) fn parts<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rows.len())?;
        let (part, rest) = rows.split_at(size);
        rows = rest;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_part_for_which_there_is_a_statement() {
        let statement = MultiRow::new("INSERT INTO t VALUES", 2, ", 7", "RETURNING a");
        assert_eq!(statement.text(1), "INSERT INTO t VALUES ($1, $2, 7) RETURNING a");
        assert!(statement.text(4).ends_with("($5, $6, 7), ($7, $8, 7) RETURNING a"), "{}", statement.text(4));
        for count in 0..300 {
            let rows: Vec<usize> = (0..count).collect();
            let split: Vec<&[usize]> = parts(&rows).collect();
            assert!(split.iter().all(|part| statement.text(part.len()).contains('$')));
            assert_eq!(split.concat(), rows);
        }
    }
}
