//! The answer to an export: pages of rows as a file that streams.

use std::{io, str::FromStr};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use http::{HeaderValue, header};
use paddock_store::clock::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;

/// The format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// RFC 4180 with a header line. A text that a spreadsheet would take for a formula gets an
    /// apostrophe in front.
    Csv,
    /// One JSON object per line.
    Ndjson,
}

impl ExportFormat {
    /// The name of the format, which is also the extension of a file.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

impl FromStr for ExportFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Csv, Self::Ndjson].into_iter().find(|format| format.text() == text).ok_or("must be csv or ndjson")
    }
}

/// The encoded pages of an export in progress.
pub(crate) trait ExportPages: Send + 'static {
    /// Returns the next page, or `None` after the last one. The client may read slowly, so an
    /// implementation holds no database connection between two pages, and authenticates its caller
    /// again before each.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, ApiError>> + Send;
}

/// Streams the pages as an attachment `paddock-<subject>-<date>.<extension>`.
///
/// A failure of the first page is an error of the request. A later one breaks the stream off, which
/// tells the client that the export is not complete.
pub(crate) async fn export_response(
    mut pages: impl ExportPages,
    subject: &str,
    now: Timestamp,
    format: ExportFormat,
) -> Result<Response, ApiError> {
    let date: String = now.to_string().chars().take(10).collect();
    let name = format!("attachment; filename=\"paddock-{subject}-{date}.{}\"", format.text());
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(format.content_type())),
        (header::CONTENT_DISPOSITION, HeaderValue::try_from(name).map_err(|_| ApiError::internal())?),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let first = pages.next().await?.unwrap_or_default();
    let rest = stream::try_unfold(pages, async |mut pages| match pages.next().await {
        Ok(page) => Ok(page.map(|page| (page, pages))),
        Err(_) => Err(io::Error::other("the export broke off")),
    });
    let body = Body::from_stream(stream::once(future::ready(Ok(first))).chain(rest));
    Ok((headers, body).into_response())
}
