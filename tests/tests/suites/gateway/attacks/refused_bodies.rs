//! Request bodies that Ollama could read differently, or that are no requests: the gateway must
//! refuse them, with 400.
//!
//! Ollama accepts many of them, some for the other model. Where it runs the allowed one, the reason
//! says why the gateway refuses the body nevertheless.

use super::bodies::{Endpoints, Templates};

/// The bodies, by the reason and the endpoints that they are for.
pub(super) const REFUSED: &[(&str, Endpoints, Templates)] = &[
    ("the key has another case", Endpoints::All, &[
        ("upper case alone", br#"{"MODEL":"<allowed>",<rest>}"#),
        ("a capital alone", br#"{"Model":"<allowed>",<rest>}"#),
    ]),
    ("two keys that Ollama takes for one", Endpoints::All, &[
        ("another spelling after it", br#"{"model":"<allowed>","MODEL":"<other>",<rest>}"#),
        ("another case before it", br#"{"MODEL":"<other>","model":"<allowed>",<rest>}"#),
        ("the allowed model in another case after the other", br#"{"model":"<other>","mODEL":"<allowed>",<rest>}"#),
        ("the last letter in another case", br#"{"model":"<allowed>","modeL":"<other>",<rest>}"#),
        ("an escaped key after it", br#"{"model":"<allowed>","\u006dodel":"<other>",<rest>}"#),
        ("an escaped key before it", br#"{"\u006d\u006f\u0064\u0065\u006c":"<other>","model":"<allowed>",<rest>}"#),
        ("an escaped key in another case", br#"{"model":"<allowed>","\u004dODEL":"<other>",<rest>}"#),
    ]),
    ("a repeated key", Endpoints::All, &[
        ("twice", br#"{"model":"<allowed>","model":"<other>",<rest>}"#),
        ("twice, the allowed model last", br#"{"model":"<other>","model":"<allowed>",<rest>}"#),
        ("twice the same", br#"{"model":"<allowed>","model":"<allowed>",<rest>}"#),
        ("twice, far apart", br#"{"model":"<allowed>",<rest>,"model":"<other>"}"#),
        ("three times", br#"{"model":"<allowed>","model":"<other>","model":"<allowed>",<rest>}"#),
        ("null after the model", br#"{"model":"<allowed>","model":null,<rest>}"#),
        ("an unknown key twice", br#"{"model":"<allowed>","x":1,"x":2,<rest>}"#),
        ("an unknown key twice by an escape", br#"{"model":"<allowed>","x":1,"\u0078":2,<rest>}"#),
        ("keep_alive twice", br#"{"model":"<allowed>","keep_alive":300,"keep_alive":301,<rest>}"#),
    ]),
    ("the key is written with an escape", Endpoints::All, &[
        ("an escaped key alone", br#"{"mod\u0065l":"<allowed>",<rest>}"#),
    ]),
    ("a letter that Go folds to ASCII", Endpoints::Native, &[
        ("a Kelvin sign", b"{\"model\":\"<allowed>\",\"\xe2\x84\xaaeep_alive\":300,<rest>}"),
        ("an escaped Kelvin sign", br#"{"model":"<allowed>","\u212Aeep_alive":300,<rest>}"#),
        ("a long s in options", b"{\"model\":\"<allowed>\",\"option\xc5\xbf\":{\"num_ctx\":512},<rest>}"),
    ]),
    ("a letter that Go folds to ASCII", Endpoints::Streaming, &[
        ("a long s in stream", b"{\"model\":\"<allowed>\",\"\xc5\xbftream\":false,<rest>}"),
        ("an escaped long s in stream", br#"{"model":"<allowed>","\u017ftream":false,<rest>}"#),
    ]),
    ("the key has another case", Endpoints::Native, &[
        ("options in another case", br#"{"model":"<allowed>","Options":{"num_ctx":512},<rest>}"#),
        ("an option in another case", br#"{"model":"<allowed>","options":{"num_predict":1,"NUM_CTX":512},<rest without options>}"#),
    ]),
    ("the key is written with an escape", Endpoints::Native, &[
        ("an option with an escape", br#"{"model":"<allowed>","options":{"num_predict":1,"num\u005fctx":512},<rest without options>}"#),
    ]),
    ("a repeated key", Endpoints::Native, &[
        ("a repeated option", br#"{"model":"<allowed>","options":{"num_predict":1,"seed":1,"seed":2},<rest without options>}"#),
        ("a repeated option by an escape", br#"{"model":"<allowed>","options":{"num_predict":1,"x":1,"\u0078":2},<rest without options>}"#),
        ("options twice, which Go merges", br#"{"model":"<allowed>","options":{"num_predict":1},"options":{"num_ctx":512},<rest without options>}"#),
    ]),
    ("data after the document", Endpoints::All, &[
        ("two documents", br#"{"model":"<allowed>",<rest>}{"model":"<other>",<rest>}"#),
        ("two documents, the other model first", br#"{"model":"<other>",<rest>}{"model":"<allowed>",<rest>}"#),
        ("two lines", b"{\"model\":\"<allowed>\",<rest>}\n{\"model\":\"<other>\",<rest>}\n"),
        ("a text after the document", br#"{"model":"<allowed>",<rest>} x"#),
        ("a brace after the document", br#"{"model":"<allowed>",<rest>}}"#),
        ("a comma after the document", br#"{"model":"<allowed>",<rest>},"#),
        ("NUL after the document", b"{\"model\":\"<allowed>\",<rest>}\0"),
        ("null after the document", br#"{"model":"<allowed>",<rest>}null"#),
        ("a no-break space after the document", b"{\"model\":\"<allowed>\",<rest>}\xc2\xa0"),
    ]),
    ("not JSON", Endpoints::All, &[
        ("a byte order mark", b"\xef\xbb\xbf{\"model\":\"<allowed>\",<rest>}"),
        ("NUL before the document", b"\0{\"model\":\"<allowed>\",<rest>}"),
        ("a vertical tab before the document", b"\x0b{\"model\":\"<allowed>\",<rest>}"),
        ("NUL between members", b"{\"model\":\"<allowed>\",\0<rest>}"),
        ("nothing", b""),
        ("an opening brace", b"{"),
        ("a cut document", br#"{"model":"<allowed>",<rest>"#),
        ("a comma at the end", br#"{"model":"<allowed>",<rest>,}"#),
        ("a comma at the start", br#"{,"model":"<allowed>",<rest>}"#),
        ("single quotes", b"{'model':'<allowed>',<rest>}"),
        ("a key without quotes", br#"{model:"<allowed>",<rest>}"#),
        ("a comment", br#"{/* "model":"<other>", */"model":"<allowed>",<rest>}"#),
        ("a line comment", b"{//\n\"model\":\"<allowed>\",<rest>}"),
        ("a leading zero", br#"{"model":"<allowed>","x":01,<rest>}"#),
        ("a plus sign", br#"{"model":"<allowed>","x":+1,<rest>}"#),
        ("a number without digits after the point", br#"{"model":"<allowed>","x":1.,<rest>}"#),
        ("a number without digits before the point", br#"{"model":"<allowed>","x":.5,<rest>}"#),
        ("not a number", br#"{"model":"<allowed>","x":NaN,<rest>}"#),
        ("infinity", br#"{"model":"<allowed>","x":-Infinity,<rest>}"#),
        ("a hexadecimal number", br#"{"model":"<allowed>","x":0x10,<rest>}"#),
        ("an unknown escape", br#"{"model":"<allowed>","x":"\x41",<rest>}"#),
        ("a short escape", br#"{"model":"<allowed>","x":"\u12",<rest>}"#),
        ("a line feed in a text", b"{\"model\":\"<allowed>\",\"x\":\"a\nb\",<rest>}"),
        ("NUL in a text", b"{\"model\":\"<allowed>\",\"x\":\"a\0b\",<rest>}"),
    ]),
    ("not an object", Endpoints::All, &[
        ("an array", br#"[{"model":"<allowed>",<rest>}]"#),
        ("an empty array", b"[]"),
        ("a string", br#""<allowed>""#),
        ("null", b"null"),
        ("a number", b"1"),
    ]),
    ("not UTF-8", Endpoints::All, &[
        ("a byte that is not UTF-8 in a text", b"{\"model\":\"<allowed>\",\"x\":\"\xff\",<rest>}"),
        ("a byte that is not UTF-8 in a key", b"{\"model\":\"<allowed>\",\"model\xff\":\"<other>\",<rest>}"),
        ("a byte that is not UTF-8 in the model", b"{\"model\":\"<allowed>\xff\",<rest>}"),
        ("an overlong letter in a key", b"{\"model\":\"<allowed>\",\"\xc1\xadodel\":\"<other>\",<rest>}"),
        ("a surrogate in UTF-8", b"{\"model\":\"<allowed>\",\"x\":\"\xed\xa0\xbd\xed\xb8\x80\",<rest>}"),
    ]),
    ("a key that is not text", Endpoints::All, &[
        ("half a surrogate pair in a key", br#"{"model":"<allowed>","\ud800":1,<rest>}"#),
        ("half a surrogate pair after model", br#"{"model":"<allowed>","model\udc00":"<other>",<rest>}"#),
    ]),
    ("a name that is not text", Endpoints::All, &[
        ("half a surrogate pair in the model", br#"{"model":"<allowed>\ud800",<rest>}"#),
    ]),
    ("the model is not a string", Endpoints::All, &[
        ("a number as the model", br#"{"model":1,<rest>}"#),
        ("true as the model", br#"{"model":true,<rest>}"#),
        ("a list as the model", br#"{"model":["<allowed>"],<rest>}"#),
        ("an object as the model", br#"{"model":{"name":"<allowed>"},<rest>}"#),
    ]),
    ("no model", Endpoints::All, &[
        ("null as the model", br#"{"model":null,<rest>}"#),
        ("no model", b"{<rest>}"),
        ("no members", b"{}"),
        ("an empty model", br#"{"model":"",<rest>}"#),
        ("an empty model with a name", br#"{"model":"","name":"<allowed>",<rest>}"#),
        ("a name alone", br#"{"name":"<allowed>",<rest>}"#),
        ("a space as the model", br#"{"model":" ",<rest>}"#),
    ]),
    ("a key of Ollama's debugging", Endpoints::All, &[
        ("the debugging switch", br#"{"model":"<allowed>","_debug_render_only":true,<rest>}"#),
        ("the debugging switch in another case", br#"{"model":"<allowed>","_DEBUG_render_only":true,<rest>}"#),
        ("the debugging switch with an escape", br#"{"model":"<allowed>","\u005fdebug_render_only":true,<rest>}"#),
        ("an unknown key with an underscore first", br#"{"model":"<allowed>","__proto__":{"model":"<other>"},<rest>}"#),
    ]),
    ("a value of the wrong kind", Endpoints::Streaming, &[
        ("a stream that is a text", br#"{"model":"<allowed>","stream":"false",<rest without stream>}"#),
    ]),
    ("a value of the wrong kind", Endpoints::Native, &[
        ("options that are a list", br#"{"model":"<allowed>","options":[],<rest without options>}"#),
        ("options that are a text", br#"{"model":"<allowed>","options":"num_ctx",<rest without options>}"#),
    ]),
];

/// Bodies that clearly name the other model, which is refused like a missing one, with 404.
pub(super) const OTHER_MODEL: Templates = &[
    ("the other model", br#"{"model":"<other>",<rest>}"#),
    ("the other model with escapes", br#"{"model":"<other escaped>",<rest>}"#),
];
