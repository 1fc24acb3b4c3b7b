//! The audit log as it is taken away: a table for spreadsheets, or one JSON object a line.

use std::{borrow::Cow, io, str::FromStr};

use paddock_accounts::audit::AuditRow;
use serde::Serialize;
use utoipa::ToSchema;

use crate::routes::audit::AuditView;

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ExportFormat)]
pub enum Format {
    /// RFC 4180, with a line of names. What a spreadsheet would take for a formula has an apostrophe before it.
    Csv,
    /// One JSON object a line, with every column as it is stored.
    Ndjson,
}

impl Format {
    /// Its word.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    /// Its content type.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Csv, Self::Ndjson].into_iter().find(|format| format.text() == text).ok_or("must be csv or ndjson")
    }
}

/// The columns of a table, in their order.
const COLUMNS: [&str; 16] = [
    "id",
    "event_id",
    "event_type",
    "occurred_at",
    "user_id",
    "credential_id",
    "actor",
    "target",
    "ip",
    "user_agent",
    "request_id",
    "detail",
    "change",
    "chain_version",
    "prev_hash",
    "hash",
];

/// Writes pages of rows in one format.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    begun: bool,
}

impl Encoder {
    /// At the beginning of an export.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, begun: false }
    }

    /// The next rows. The first call says the names of the columns too, also where there are no rows.
    pub fn encode(&mut self, rows: Vec<AuditRow>) -> io::Result<Vec<u8>> {
        let begins = !std::mem::replace(&mut self.begun, true);
        match self.format {
            Format::Csv => table(&rows, begins),
            Format::Ndjson => lines(rows),
        }
    }
}

fn lines(rows: Vec<AuditRow>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for row in rows {
        let from = text.len();
        serde_json::to_writer(&mut text, &AuditView::from(row))?;
        // A change that someone wrote anew may have line ends between its members; they mean nothing there.
        text[from..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        text.push(b'\n');
    }
    Ok(text)
}

fn table(rows: &[AuditRow], begins: bool) -> io::Result<Vec<u8>> {
    let mut table = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    if begins {
        table.write_record(COLUMNS)?;
    }
    for row in rows {
        let number = |number: Option<i64>| Cow::Owned(number.map(|n| n.to_string()).unwrap_or_default());
        let text = |text: &Option<String>| Cow::Owned(text.as_deref().map(cell).unwrap_or_default().into_owned());
        let record: [Cow<'_, str>; COLUMNS.len()] = [
            number(Some(row.id)),
            row.event_id.to_string().into(),
            cell(&row.event_type),
            row.occurred_at.to_string().into(),
            number(row.user_id),
            number(row.credential_id),
            cell(&row.actor),
            text(&row.target),
            text(&row.ip),
            text(&row.user_agent),
            text(&row.request_id),
            text(&row.detail),
            text(&row.change),
            number(Some(row.chain_version)),
            cell(&row.prev_hash),
            cell(&row.hash),
        ];
        table.write_record(record.iter().map(AsRef::as_ref))?;
    }
    table.into_inner().map_err(csv::IntoInnerError::into_error)
}

/// A text as a spreadsheet may have it: one that it would run as a formula has an apostrophe before it. So has one that
/// begins with an apostrophe, so that taking the first one away gives the original.
fn cell(text: &str) -> Cow<'_, str> {
    const RISKY: [char; 12] = ['=', '+', '-', '@', '\t', '\r', '\n', '\'', '＝', '＋', '－', '＠'];
    if text.starts_with(RISKY) { format!("'{text}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use paddock_accounts::clock::Time;
    use rstest::rstest;

    use super::*;

    fn row() -> AuditRow {
        AuditRow {
            id: 7,
            event_id: uuid::Uuid::from_u128(7),
            chain_version: 1,
            event_type: "user_created".to_owned(),
            occurred_at: Time::from_micros(1_700_000_000_000_001),
            user_id: Some(3),
            credential_id: None,
            actor: "key:1".to_owned(),
            target: Some("a,\"b\"\r\nc".to_owned()),
            ip: None,
            user_agent: Some("=HYPERLINK(\"http://example.com\")".to_owned()),
            request_id: Some("-1".to_owned()),
            detail: None,
            change: Some(r#"{"after":{"email":"a@b"},"before":{}}"#.to_owned()),
            prev_hash: "00".repeat(32),
            hash: "ff".repeat(32),
        }
    }

    #[test]
    fn a_table_has_its_names_once_and_is_read_back() {
        let mut encoder = Encoder::new(Format::Csv);
        let mut text = encoder.encode(vec![row()]).unwrap();
        text.extend(encoder.encode(vec![row()]).unwrap());
        let mut reader = csv::Reader::from_reader(text.as_slice());
        assert_eq!(reader.headers().unwrap(), COLUMNS.as_slice());
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 2);
        let columns = [0, 3, 4, 5, 7, 9, 10, 12].map(|column| &records[1][column]);
        let change = r#"{"after":{"email":"a@b"},"before":{}}"#;
        let agent = "'=HYPERLINK(\"http://example.com\")";
        assert_eq!(columns, ["7", "2023-11-14T22:13:20.000001Z", "3", "", "a,\"b\"\r\nc", agent, "'-1", change]);
    }

    #[test]
    fn an_export_of_nothing_still_has_the_names() {
        let mut encoder = Encoder::new(Format::Csv);
        assert_eq!(encoder.encode(Vec::new()).unwrap(), (COLUMNS.join(",") + "\r\n").into_bytes());
        assert_eq!(Encoder::new(Format::Ndjson).encode(Vec::new()).unwrap(), b"");
    }

    #[test]
    fn a_line_is_one_line_whatever_was_made_of_the_change() {
        let spread = AuditRow { change: Some("{\"after\":\n{\"a\":\"x\\ny\"}}".to_owned()), ..row() };
        let text = String::from_utf8(Encoder::new(Format::Ndjson).encode(vec![spread]).unwrap()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["change"]["after"]["a"], "x\ny");
        assert_eq!(line["user_agent"], "=HYPERLINK(\"http://example.com\")");
    }

    #[rstest]
    #[case("=1+1", "'=1+1")]
    #[case("@SUM(A1)", "'@SUM(A1)")]
    #[case("\tx", "'\tx")]
    #[case("'x", "''x")]
    #[case("＝1", "'＝1")]
    #[case("curl/8.0", "curl/8.0")]
    #[case("", "")]
    fn formulas_are_disarmed(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(cell(text), expected);
    }
}
