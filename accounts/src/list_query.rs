//! What lists have in common: the text to search for, and the order.

use std::str::FromStr;

use paddock_store::db::Conn;

use crate::types::{TextEnum, UnknownVariant, parse_variant};

/// The order of a list: one of its columns, and the direction. Rows without a value come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort<C> {
    /// The column.
    pub column: C,
    /// Whether the largest value comes first.
    pub is_descending: bool,
}

impl<C: TextEnum> FromStr for Sort<C> {
    type Err = UnknownVariant;

    /// Parses the name of a column; `-` in front means descending.
    fn from_str(text: &str) -> Result<Self, UnknownVariant> {
        let (is_descending, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        Ok(Self { column: parse_variant(name)?, is_descending })
    }
}

/// A column by which a list can be sorted.
pub(crate) trait SortColumn: TextEnum {
    /// The SQL expression of the column, and whether it is a text.
    fn expression(self) -> (&'static str, bool);
}

/// Returns the ORDER BY clause. Rows with equal values are sorted by id, the newest first.
///
/// Texts are compared byte by byte, so that both engines agree; PostgreSQL would otherwise use the
/// language of the database.
pub(crate) fn order_by<C: SortColumn>(sort: Sort<C>, conn: &Conn<'_>) -> String {
    let (expression, is_text) = sort.column.expression();
    let collation = if is_text && matches!(conn, Conn::Pg(_)) { " COLLATE \"C\"" } else { "" };
    let direction = if sort.is_descending { "DESC" } else { "ASC" };
    match expression {
        "id" => format!(" ORDER BY id {direction}"),
        _ => format!(" ORDER BY {expression}{collation} {direction} NULLS LAST, id DESC"),
    }
}

/// Returns the number of all rows, if this page already tells it: a page that is not full ends the
/// list.
pub(crate) fn total_of_last_page(rows: usize, limit: u16, offset: u32) -> Option<i64> {
    let is_last = rows < usize::from(limit) && (offset == 0 || rows > 0);
    is_last.then(|| i64::from(offset) + i64::try_from(rows).unwrap_or(i64::MAX))
}
