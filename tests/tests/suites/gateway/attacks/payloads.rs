//! Raw payloads, and what the gateway answers to each.
//!
//! These texts in a payload stand for parts of it:
//!
//! | Text | Part |
//! |---|---|
//! | `<post>` | a request line and headers up to the length: a chat with a valid key |
//! | `<post without key>`, `<post of 1.0>`, `<post with LF>` | the same in another form |
//! | `<chunked>` | `<post>`, `Transfer-Encoding: chunked`, and the end of the headers |
//! | `<body>`, `<length>`, `<hex>`, `<HEX>` | the body of the chat and its length |
//! | `<request>`, `<request length>`, `<request hex>` | a whole request without a key, and its length |
//! | `<body with a request>`, `<length with a request>` | a chat about a request, and its length |
//! | `<key>` | the valid key |

/// Names of payloads, each with its bytes.
pub(super) type Payloads = &'static [(&'static str, &'static [u8])];

/// Refused with one 400, and not forwarded.
pub(super) const REFUSED: Payloads = &[
    ("CL.TE: the length covers the request behind the chunks", b"<post>Content-Length: 4096\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n<request>"),
    ("TE.CL: the length after the encoding", b"<post>Transfer-Encoding: chunked\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("TE.CL: a chunk that holds a request", b"<post>Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n<request hex>\r\n<request>\r\n0\r\n\r\n"),
    ("TE.0: no chunks", b"<post>Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n<request>"),
    ("encoding: chunked, then identity", b"<post>Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: identity", b"<post>Transfer-Encoding: identity\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: gzip", b"<post>Transfer-Encoding: gzip\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: chunked, gzip", b"<post>Transfer-Encoding: chunked, gzip\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: xchunked", b"<post>Transfer-Encoding: xchunked\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: chunkedx", b"<post>Transfer-Encoding: chunkedx\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: x chunked", b"<post>Transfer-Encoding: x chunked\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: chunked;q=1", b"<post>Transfer-Encoding: chunked;q=1\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: quoted", b"<post>Transfer-Encoding: \"chunked\"\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: an empty encoding", b"<post>Transfer-Encoding:\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: a vertical tab before the value", b"<post>Transfer-Encoding:\x0bchunked\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: NUL before the value", b"<post>Transfer-Encoding: \0chunked\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("an encoding with a space before the colon", b"<post>Transfer-Encoding : chunked\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("an encoding with a tab before the colon", b"<post>Transfer-Encoding\t: chunked\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("an encoding with a space before the name", b"<post> Transfer-Encoding: chunked\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("an encoding with a fold", b"<post>X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("an encoding with a fold of the value", b"<post>Transfer-Encoding:\r\n chunked\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("an encoding with a bare CR before it", b"<post>X: y\rTransfer-Encoding: chunked\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("an encoding with NUL in the name", b"<post>Transfer\0-Encoding: chunked\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("an encoding with a letter of Latin-1 in the name", b"<post>Tran\xffsfer-Encoding: chunked\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("length: +@L", b"<post>Content-Length: +<length>\r\n\r\n<body><request>"),
    ("length: -1", b"<post>Content-Length: -1\r\n\r\n<body><request>"),
    ("length: hex", b"<post>Content-Length: 0x<hex>\r\n\r\n<body><request>"),
    ("length: a point", b"<post>Content-Length: <length>.0\r\n\r\n<body><request>"),
    ("length: an exponent", b"<post>Content-Length: 1e1\r\n\r\n<body><request>"),
    ("length: a list", b"<post>Content-Length: <length>, <length>\r\n\r\n<body><request>"),
    ("length: a list of two", b"<post>Content-Length: <length>, 0\r\n\r\n<body><request>"),
    ("length: a list in one with an empty member", b"<post>Content-Length: <length>,\r\n\r\n<body><request>"),
    ("length: nothing", b"<post>Content-Length:\r\n\r\n<body><request>"),
    ("length: a space", b"<post>Content-Length: 1 1\r\n\r\n<body><request>"),
    ("length: an underscore", b"<post>Content-Length: 1_0\r\n\r\n<body><request>"),
    ("length: full-width digits", b"<post>Content-Length: \xef\xbc\x91\r\n\r\n<body><request>"),
    ("length: quotes", b"<post>Content-Length: \"<length>\"\r\n\r\n<body><request>"),
    ("length: a number beyond 64 bits", b"<post>Content-Length: 18446744073709551616\r\n\r\n<body><request>"),
    ("length: a number that wraps to the length", b"<post>Content-Length: 18446744073709551617\r\n\r\n<body><request>"),
    ("length: a letter", b"<post>Content-Length: <length>a\r\n\r\n<body><request>"),
    ("two lengths", b"<post>Content-Length: <length>\r\nContent-Length: 0\r\n\r\n<body><request>"),
    ("two lengths, zero first", b"<post>Content-Length: 0\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("a length with a space before the colon", b"<post>Content-Length : <length>\r\n\r\n<body><request>"),
    ("a chunk with an extension with a bare LF", b"<chunked><hex>;a\nb\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk size: 0x", b"<chunked>0x<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk size: a minus", b"<chunked>-1\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk size: a plus", b"<chunked>+<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk size: a letter", b"<chunked><hex>g\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk size: nothing", b"<chunked>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk size: a space before it", b"<chunked> <hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk size: 17 digits", b"<chunked>10000000000000000\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk size: a number that wraps", b"<chunked>1000000000000000<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk size: LF after it", b"<chunked><hex>\n<body>\n0\n\n<request>"),
    ("a chunk size: CR after it", b"<chunked><hex>\r<body>\r0\r\r<request>"),
    ("a chunk size: more bytes than it says", b"<chunked>1\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk without CRLF at its end", b"<chunked><hex>\r\n<body>0\r\n\r\n<request>"),
    ("a chunk with a wrong end", b"<chunked><hex>\r\n<body>XX0\r\n\r\n<request>"),
    ("a trailer without a colon", b"<chunked><hex>\r\n<body>\r\n0\r\nPOST /api/generate HTTP/1.1\r\n\r\n<request>"),
    ("CR alone at the ends of lines", b"POST /api/chat HTTP/1.1\rHost: paddock\r\r"),
    ("a folded header", b"<post>X-Fold: a\r\n b\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("a folded key", b"POST /api/chat HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer\r\n <key>\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("a space before a colon", b"POST /api/chat HTTP/1.1\r\nHost: paddock\r\nAuthorization : Bearer <key>\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("NUL in a value", b"<post>X: a\0b\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("a bare CR in a value", b"<post>X: a\rb\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("a header without a colon", b"<post>X\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("a header without a name", b"<post>: x\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("two keys", b"<post>Authorization: Bearer pdk_x\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("HTTP/0.9", b"GET /api/tags\r\n\r\n"),
    ("HTTP/0.9 with a body", b"POST /api/chat\r\n\r\n<body>"),
    ("HTTP/1.0 with chunks", b"<post of 1.0>Transfer-Encoding: chunked\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("HTTP/1.2", b"POST /api/chat HTTP/1.2\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("HTTP/2.0", b"POST /api/chat HTTP/2.0\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("http/1.1", b"POST /api/chat http/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("two spaces in the request line", b"POST  /api/chat HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("a tab in the request line", b"POST\t/api/chat\tHTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("a space in the path", b"POST /api/chat /api/generate HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("NUL before the request", b"\0<post>Content-Length: <length>\r\n\r\n<body>"),
    ("a TLS client hello", b"\x16\x03\x01\0\xa5\x01\0\0\xa1\x03\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ("a body that is a request", b"<post>Content-Length: <request length>\r\n\r\n<request>"),
];

/// Refused with 400 when the client stops sending, and not forwarded: more bytes are announced.
pub(super) const UNFINISHED: Payloads = &[
    ("a chunk size: the largest number", b"<chunked>ffffffffffffffff\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk size: 40 MB", b"<chunked>2800000\r\n<body>"),
    ("a chunk size: fewer bytes than it says", b"<chunked>fff\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a body that never ends", b"<post>Content-Length: 100000\r\n\r\n<body>"),
];

/// Forwarded as one chat. Bytes after it are part of it, or the connection is closed before them.
pub(super) const SERVED: Payloads = &[
    ("a request", b"<post>Content-Length: <length>\r\n\r\n<body>"),
    ("a chunked request", b"<chunked><hex>\r\n<body>\r\n0\r\n\r\n"),
    ("CL.TE: the length covers less than the chunks", b"<post>Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("TE.CL: the length ends in a chunk", b"<post>Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("chunked with another case", b"<post>Transfer-Encoding: CHUNKED\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n"),
    ("chunked with a tab before the value", b"<post>Transfer-Encoding:\tchunked\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n"),
    ("chunked with a space after the value", b"<post>Transfer-Encoding: chunked \r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n"),
    ("chunked with no space before the value", b"<post>Transfer-Encoding:chunked\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n"),
    ("encoding: chunked twice", b"<post>Transfer-Encoding: chunked, chunked\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: chunked in two headers", b"<post>Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: identity, then chunked", b"<post>Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: gzip, chunked", b"<post>Transfer-Encoding: gzip, chunked\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("encoding: a comma first", b"<post>Transfer-Encoding: , chunked\r\nContent-Length: <length>\r\n\r\n<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a key behind a bare LF in a value", b"POST /api/chat HTTP/1.1\r\nHost: paddock\r\nX: a\nAuthorization: Bearer <key>\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("HTTP/1.0 with a length", b"<post of 1.0>Content-Length: <length>\r\n\r\n<body><request>"),
    ("empty lines before the request", b"\r\n\r\n<post>Content-Length: <length>\r\n\r\n<body>"),
];

/// Forwarded as one chat. The bytes after it are a second request, which is refused with 401.
pub(super) const SERVED_BEFORE_ANOTHER: Payloads = &[
    ("a length beside an encoding with an underscore", b"<post>Transfer_Encoding: chunked\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("a length beside an encoding with another header", b"<post>X-Transfer-Encoding: chunked\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("length: leading zeros", b"<post>Content-Length: 000<length>\r\n\r\n<body><request>"),
    ("two equal lengths", b"<post>Content-Length: <length>\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("a chunk with an extension", b"<chunked><hex>;a=b\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk with an extension with a quoted CRLF", b"<chunked><hex>;a=\"\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk with spaces after the size", b"<chunked><hex>  \r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk with leading zeros in the size", b"<chunked>0000<hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a chunk with capitals in the size", b"<chunked><HEX>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a last chunk of two zeros", b"<chunked><hex>\r\n<body>\r\n00\r\n\r\n<request>"),
    ("trailers with another length", b"<chunked><hex>\r\n<body>\r\n0\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n<request>"),
    ("LF alone at the ends of lines", b"<post with LF>Content-Length: <length>\n\n<body><request>"),
    ("Connection that names the length", b"<post>Connection: content-length, transfer-encoding\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("an upgrade", b"<post>Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("an unknown expectation", b"<post>Expect: 200-ok\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("an encoded CRLF in the query", b"POST /api/chat?%0d%0aX:%20y HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <length>\r\n\r\n<body><request>"),
    ("a second request without a key", b"<post>Content-Length: <length>\r\n\r\n<body><request>"),
    ("a second request without a key behind chunks", b"<chunked><hex>\r\n<body>\r\n0\r\n\r\n<request>"),
    ("a second request with another key", b"<post>Content-Length: <length>\r\n\r\n<body>POST /api/generate HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer pdk_x\r\nContent-Length: <length>\r\n\r\n<body>"),
    ("a body of JSON that holds a request", b"<post>Content-Length: <length with a request>\r\n\r\n<body with a request><request>"),
];

/// All others: with the statuses of the answers, and how many chats are forwarded.
pub(super) const OTHERS: &[(&str, &[u8], &[u16], usize)] = &[
    ("CL.0: a length of zero", b"<post>Content-Length: 0\r\n\r\n<request>", &[400, 401], 0),
    ("length: the largest number", b"<post>Content-Length: 18446744073709551615\r\n\r\n<body><request>", &[431], 0),
    ("a length in an underscore header", b"<post>Content_Length: <length>\r\n\r\n<body>", &[400, 400], 0),
    ("no length", b"<post>\r\n<body>", &[400, 400], 0),
    ("a length below that of the body", b"<post>Content-Length: 1\r\n\r\n<body><request>", &[400, 400], 0),
    ("trailers with a key", b"<post without key>Transfer-Encoding: chunked\r\n\r\n<hex>\r\n<body>\r\n0\r\nAuthorization: Bearer <key>\r\n\r\n", &[401], 0),
    ("a key of the connection", b"POST /api/chat HTTP/1.1\r\nHost: paddock\r\nConnection: authorization\r\nContent-Length: <length>\r\n\r\n<body>", &[401], 0),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[], 0),
    ("Expect before a request", b"<post>Expect: 100-continue\r\nContent-Length: 0\r\n\r\n<request>", &[400, 401], 0),
    ("a request line in the path", b"POST /api/chat%20HTTP/1.1%0d%0aHost:%20x HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <length>\r\n\r\n<body>", &[404], 0),
    ("a lower-case method", b"post /api/chat HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <length>\r\n\r\n<body>", &[405], 0),
    ("ten requests without a key behind the first", b"<post>Content-Length: <length>\r\n\r\n<body><request><request><request><request><request><request><request><request><request><request>", &[200, 401, 401, 401, 401, 401, 401, 401, 401, 401, 401], 1),
    ("a request without a key, then one with it", b"<request><post>Content-Length: <length>\r\n\r\n<body>", &[401, 200], 1),
    ("a GET with a body that is a request", b"GET /api/version HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <request length>\r\n\r\n<request>", &[200], 0),
    ("a GET with an unannounced body", b"GET /api/version HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\n\r\n<request>", &[200, 401], 0),
    ("a GET with chunks that hold a request", b"GET /api/version HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nTransfer-Encoding: chunked\r\n\r\n<request hex>\r\n<request>\r\n0\r\n\r\n", &[200], 0),
    ("a HEAD with a body that is a request", b"HEAD /api/version HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <request length>\r\n\r\n<request>", &[200], 0),
    ("a refused request whose body is a request", b"POST /api/push HTTP/1.1\r\nHost: paddock\r\nAuthorization: Bearer <key>\r\nContent-Length: <request length>\r\n\r\n<request>", &[403], 0),
    ("a request without a key whose body is a request", b"POST /api/chat HTTP/1.1\r\nHost: paddock\r\nContent-Length: <request length>\r\n\r\n<request>", &[401], 0),
    ("CONNECT, then a request", b"CONNECT 127.0.0.1:11434 HTTP/1.1\r\nHost: 127.0.0.1:11434\r\nAuthorization: Bearer <key>\r\n\r\n<request>", &[404, 401], 0),
];
