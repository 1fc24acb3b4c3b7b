//! Encodes audit events for export: as CSV for spreadsheets, or as one JSON object a line.

use std::{borrow::Cow, io, mem};

use paddock_store::audit::AuditRow;

use super::view::AuditView;
use crate::http::export::ExportFormat;

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

/// Encodes rows in one format, and yields the bytes in between.
#[derive(Debug)]
pub struct AuditEncoder {
    buffer: Buffer,
    /// Whether the header line has been written.
    has_header: bool,
}

/// The bytes that were encoded and not yielded yet.
#[derive(Debug)]
enum Buffer {
    Table(Box<csv::Writer<Vec<u8>>>),
    Lines(Vec<u8>),
}

impl AuditEncoder {
    /// Begins an export.
    #[must_use]
    pub fn new(format: ExportFormat) -> Self {
        let buffer = match format {
            ExportFormat::Csv => Buffer::Table(Box::new(empty_table())),
            ExportFormat::Ndjson => Buffer::Lines(Vec::new()),
        };
        Self { buffer, has_header: false }
    }

    /// Encodes a row.
    pub fn push(&mut self, row: &AuditRow<&str>) -> io::Result<()> {
        self.begin()?;
        match &mut self.buffer {
            Buffer::Table(table) => Ok(table.write_record(cells(row).iter().map(AsRef::as_ref))?),
            Buffer::Lines(text) => write_line(text, row),
        }
    }

    /// Returns the bytes since the last call. The first call includes the header line of a table,
    /// even without rows.
    pub fn take(&mut self) -> io::Result<Vec<u8>> {
        self.begin()?;
        match &mut self.buffer {
            Buffer::Table(table) => {
                mem::replace(&mut **table, empty_table()).into_inner().map_err(csv::IntoInnerError::into_error)
            }
            Buffer::Lines(text) => Ok(mem::take(text)),
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        match &mut self.buffer {
            Buffer::Table(table) if !mem::replace(&mut self.has_header, true) => Ok(table.write_record(COLUMNS)?),
            _ => Ok(()),
        }
    }
}

fn empty_table() -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new())
}

fn write_line(text: &mut Vec<u8>, row: &AuditRow<&str>) -> io::Result<()> {
    let from = text.len();
    serde_json::to_writer(&mut *text, &AuditView::from(row))?;
    // A rewritten change may have line ends between its members, where they mean nothing.
    text[from..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    text.push(b'\n');
    Ok(())
}

/// Returns the cells of a row.
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

/// Escapes a text for spreadsheets: one that they would run as a formula gets an apostrophe in
/// front. So does a text that begins with an apostrophe; removing the first one always restores the
/// original.
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

    /// Encodes these rows.
    fn encoded(encoder: &mut AuditEncoder, rows: &[AuditRow<&str>]) -> Vec<u8> {
        for row in rows {
            encoder.push(row).unwrap();
        }
        encoder.take().unwrap()
    }

    #[test]
    fn a_table_has_one_header_and_can_be_read_back() {
        let mut encoder = AuditEncoder::new(ExportFormat::Csv);
        let mut text = encoded(&mut encoder, &[row(), row()]);
        text.extend(encoded(&mut encoder, &[row()]));
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
    fn an_empty_export_still_has_the_header() {
        let mut encoder = AuditEncoder::new(ExportFormat::Csv);
        assert_eq!(encoded(&mut encoder, &[]), (COLUMNS.join(",") + "\r\n").into_bytes());
        assert_eq!(encoded(&mut encoder, &[]), b"");
        assert_eq!(encoded(&mut AuditEncoder::new(ExportFormat::Ndjson), &[]), b"");
    }

    #[test]
    fn a_rewritten_change_stays_on_one_line() {
        let spread = AuditRow { change: Some("{\"after\":\n{\"a\":\"x\\ny\"}}"), ..row() };
        let text = String::from_utf8(encoded(&mut AuditEncoder::new(ExportFormat::Ndjson), &[spread])).unwrap();
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
    fn formulas_are_escaped(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(cell(text), expected);
    }
}
