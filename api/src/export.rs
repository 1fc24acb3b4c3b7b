//! The audit log as it is taken away: a table for spreadsheets, or one JSON object a line.

use std::{borrow::Cow, io, mem, str::FromStr};

use paddock_store::audit::AuditRow;
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

/// Writes rows in one format, and gives away what it has so far.
#[derive(Debug)]
pub struct Encoder {
    text: Text,
    /// Whether the names of the columns are written.
    named: bool,
}

/// What was written and is not given away yet.
#[derive(Debug)]
enum Text {
    Table(Box<csv::Writer<Vec<u8>>>),
    Lines(Vec<u8>),
}

impl Encoder {
    /// At the beginning of an export.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let text = match format {
            Format::Csv => Text::Table(Box::new(empty_table())),
            Format::Ndjson => Text::Lines(Vec::new()),
        };
        Self { text, named: false }
    }

    /// Writes a row.
    pub fn push(&mut self, row: &AuditRow<&str>) -> io::Result<()> {
        self.begin()?;
        match &mut self.text {
            Text::Table(table) => Ok(table.write_record(cells(row).iter().map(AsRef::as_ref))?),
            Text::Lines(text) => line(text, row),
        }
    }

    /// What was written since this was asked last. The first time it has the names of the columns, also where there are no
    /// rows.
    pub fn take(&mut self) -> io::Result<Vec<u8>> {
        self.begin()?;
        match &mut self.text {
            Text::Table(table) => {
                mem::replace(&mut **table, empty_table()).into_inner().map_err(csv::IntoInnerError::into_error)
            }
            Text::Lines(text) => Ok(mem::take(text)),
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        match &mut self.text {
            Text::Table(table) if !mem::replace(&mut self.named, true) => Ok(table.write_record(COLUMNS)?),
            _ => Ok(()),
        }
    }
}

fn empty_table() -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new())
}

fn line(text: &mut Vec<u8>, row: &AuditRow<&str>) -> io::Result<()> {
    let from = text.len();
    serde_json::to_writer(&mut *text, &AuditView::from(row))?;
    // A change that someone wrote anew may have line ends between its members; they mean nothing there.
    text[from..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    text.push(b'\n');
    Ok(())
}

/// A row of the table.
fn cells<'a>(row: &AuditRow<&'a str>) -> [Cow<'a, str>; COLUMNS.len()] {
    let number = |number: Option<i64>| Cow::Owned(number.map(|n| n.to_string()).unwrap_or_default());
    let text = |text: Option<&'a str>| text.map(cell).unwrap_or_default();
    [
        number(Some(row.id)),
        row.event_id.to_string().into(),
        cell(row.event_type),
        row.occurred_at.to_string().into(),
        number(row.user_id),
        number(row.credential_id),
        cell(row.actor),
        text(row.target),
        text(row.ip),
        text(row.user_agent),
        text(row.request_id),
        text(row.detail),
        text(row.change),
        number(Some(row.chain_version)),
        cell(row.prev_hash),
        cell(row.hash),
    ]
}

/// A text as a spreadsheet may have it: one that it would run as a formula has an apostrophe before it. So has one that
/// begins with an apostrophe, so that taking the first one away gives the original.
fn cell(text: &str) -> Cow<'_, str> {
    const RISKY: [char; 12] = ['=', '+', '-', '@', '\t', '\r', '\n', '\'', '＝', '＋', '－', '＠'];
    if text.starts_with(RISKY) { format!("'{text}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use paddock_store::clock::Timestamp;
    use rstest::rstest;

    use super::*;

    fn row() -> AuditRow<&'static str> {
        AuditRow {
            id: 7,
            event_id: uuid::Uuid::from_u128(7),
            chain_version: 1,
            event_type: "user_created",
            occurred_at: Timestamp::from_micros(1_700_000_000_000_001),
            user_id: Some(3),
            credential_id: None,
            actor: "key:1",
            target: Some("a,\"b\"\r\nc"),
            ip: None,
            user_agent: Some("=HYPERLINK(\"http://example.com\")"),
            request_id: Some("-1"),
            detail: None,
            change: Some(r#"{"after":{"email":"a@b"},"before":{}}"#),
            prev_hash: "00",
            hash: "ff",
        }
    }

    /// What is written of these rows at once.
    fn written(encoder: &mut Encoder, rows: &[AuditRow<&str>]) -> Vec<u8> {
        for row in rows {
            encoder.push(row).unwrap();
        }
        encoder.take().unwrap()
    }

    #[test]
    fn a_table_has_its_names_once_and_is_read_back() {
        let mut encoder = Encoder::new(Format::Csv);
        let mut text = written(&mut encoder, &[row(), row()]);
        text.extend(written(&mut encoder, &[row()]));
        let mut reader = csv::Reader::from_reader(text.as_slice());
        assert_eq!(reader.headers().unwrap(), COLUMNS.as_slice());
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 3);
        let columns = [0, 3, 4, 5, 7, 9, 10, 12].map(|column| &records[2][column]);
        let change = r#"{"after":{"email":"a@b"},"before":{}}"#;
        let agent = "'=HYPERLINK(\"http://example.com\")";
        assert_eq!(columns, ["7", "2023-11-14T22:13:20.000001Z", "3", "", "a,\"b\"\r\nc", agent, "'-1", change]);
    }

    #[test]
    fn an_export_of_nothing_still_has_the_names() {
        let mut encoder = Encoder::new(Format::Csv);
        assert_eq!(written(&mut encoder, &[]), (COLUMNS.join(",") + "\r\n").into_bytes());
        assert_eq!(written(&mut encoder, &[]), b"");
        assert_eq!(written(&mut Encoder::new(Format::Ndjson), &[]), b"");
    }

    #[test]
    fn a_line_is_one_line_whatever_was_made_of_the_change() {
        let spread = AuditRow { change: Some("{\"after\":\n{\"a\":\"x\\ny\"}}"), ..row() };
        let text = String::from_utf8(written(&mut Encoder::new(Format::Ndjson), &[spread])).unwrap();
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
