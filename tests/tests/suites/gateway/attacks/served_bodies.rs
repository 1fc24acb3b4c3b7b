//! Request bodies that have one reading: the gateway must serve them.

use super::bodies::{Endpoints, Templates};

/// The bodies, by the endpoints that they are for.
pub(super) const SERVED: &[(Endpoints, Templates)] = &[
    (Endpoints::All, &[
        ("plain", br#"{"model":"<allowed>",<rest>}"#),
        ("model last", br#"{<rest>,"model":"<allowed>"}"#),
        ("white space", b" \t\r\n{ \"model\" :\n\"<allowed>\" ,\t<rest> }\r\n "),
        ("escapes in the value", br#"{"model":"<escaped>",<rest>}"#),
        ("an escaped slash in the value", br#"{"model":"library\/<allowed>",<rest>}"#),
        ("model in an unknown object", br#"{"x_vendor":{"model":"<other>"},"model":"<allowed>",<rest>}"#),
        ("model in an unknown list", br#"{"model":"<allowed>","x_vendor":[{"model":"<other>"},"model","<other>"],<rest>}"#),
        ("model in metadata", br#"{"model":"<allowed>","metadata":{"model":"<other>"},<rest>}"#),
        ("a longer key", br#"{"model":"<allowed>","models":"<other>",<rest>}"#),
        ("a key with a space after it", br#"{"model":"<allowed>","model ":"<other>",<rest>}"#),
        ("a key with a space before it", br#"{"model":"<allowed>"," model":"<other>",<rest>}"#),
        ("a key with NUL", br#"{"model":"<allowed>","model\u0000":"<other>",<rest>}"#),
        ("a key with a zero-width space", b"{\"model\":\"<allowed>\",\"mod\xe2\x80\x8bel\":\"<other>\",<rest>}"),
        ("a key with a combining accent", b"{\"model\":\"<allowed>\",\"model\xcc\x81\":\"<other>\",<rest>}"),
        ("a key of full-width letters", b"{\"model\":\"<allowed>\",\"\xef\xbd\x8d\xef\xbd\x8f\xef\xbd\x84\xef\xbd\x85\xef\xbd\x8c\":\"<other>\",<rest>}"),
        ("a key with a Cyrillic letter", b"{\"model\":\"<allowed>\",\"m\xd0\xbedel\":\"<other>\",<rest>}"),
        ("a key with a Roman numeral", b"{\"model\":\"<allowed>\",\"mode\xe2\x85\xbc\":\"<other>\",<rest>}"),
        ("an empty key", br#"{"model":"<allowed>","":"<other>",<rest>}"#),
        ("a key with quotes", br#"{"model":"<allowed>","\"model\"":"<other>",<rest>}"#),
        ("name, which is not read", br#"{"model":"<allowed>","name":"<other>",<rest>}"#),
        ("name before model", br#"{"name":"<other>","model":"<allowed>",<rest>}"#),
        ("a text that looks like members", br#"{"model":"<allowed>","x":"\",\"model\":\"<other>",<rest>}"#),
        ("a text with half a surrogate pair", br#"{"model":"<allowed>","x":"\ud83d half",<rest>}"#),
        ("a text with halves in the wrong order", br#"{"model":"<allowed>","x":"\ude00\ud83d",<rest>}"#),
        ("a text with a surrogate pair", br#"{"model":"<allowed>","x":"\ud83d\ude00",<rest>}"#),
        ("a text with an escaped NUL", br#"{"model":"<allowed>","x":"\u0000",<rest>}"#),
        ("a text with DEL and line separators", b"{\"model\":\"<allowed>\",\"x\":\"\x7f\xe2\x80\xa8\xe2\x80\xa9\",<rest>}"),
        ("huge numbers", br#"{"model":"<allowed>","x":[1e400,-1e-400,123456789012345678901234567890,-0,0.1E+2],<rest>}"#),
        ("repeated keys of an unknown object", br#"{"model":"<allowed>","x":{"model":1,"model":2,"_y":3},<rest>}"#),
        ("null members", br#"{"model":"<allowed>","x":null,"keep_alive":null,"format":null,<rest>}"#),
        ("keep_alive", br#"{"model":"<allowed>","keep_alive":-1,<rest>}"#),
    ]),
    (Endpoints::Native, &[
        ("options that load the model anew", br#"{"model":"<allowed>","options":{"num_ctx":1024,"num_predict":1},<rest without options>}"#),
        ("unknown options", br#"{"model":"<allowed>","options":{"num_predict":1,"x_vendor":{"model":"<other>"}},<rest without options>}"#),
    ]),
    (Endpoints::Compatible, &[
        ("options, which are not read", br#"{"model":"<allowed>","options":{"model":"<other>","Model":"<other>"},<rest>}"#),
        ("model in stream_options", br#"{"model":"<allowed>","stream_options":{"model":"<other>"},<rest>}"#),
    ]),
];
