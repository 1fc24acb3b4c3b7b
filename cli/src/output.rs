//! Output formats: a table for people, JSON or YAML for programs.

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::{error::Error, table::align};

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// The output format of a command.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputSettings {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
}

impl OutputSettings {
    /// Formats a list. A table shows these columns.
    pub(crate) fn list(self, items: &[Value], columns: &[&str]) -> Result<String, Error> {
        if self.output != Format::Table {
            return self.document(&Value::from(items));
        }
        let heading = columns.iter().map(|column| (*column).to_owned()).collect();
        let rows = items.iter().map(|item| columns.iter().map(|column| cell(&item[*column])).collect());
        Ok(align(&std::iter::once(heading).chain(rows).collect::<Vec<Vec<String>>>()))
    }

    /// Formats one object. A table shows one member per line.
    pub(crate) fn object(self, item: &Value) -> Result<String, Error> {
        match item.as_object() {
            Some(members) if self.output == Format::Table => {
                let width = members.keys().map(|name| name.chars().count()).max().unwrap_or(0);
                let lines = members.iter().map(|(name, value)| format!("{name:width$}  {}", cell(value)));
                Ok(lines.flat_map(|line| [line, "\n".to_owned()]).collect())
            }
            _ => self.document(item),
        }
    }

    fn document(self, value: &Value) -> Result<String, Error> {
        Ok(match self.output {
            Format::Yaml => serde_yaml_ng::to_string(value).map_err(anyhow::Error::from)?,
            _ => serde_json::to_string_pretty(value).map_err(anyhow::Error::from)? + "\n",
        })
    }
}

/// The text of a cell. Replaces control characters, because clients choose some of the values.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(members) => {
            let present = members.iter().filter(|(_, value)| !value.is_null());
            let present: Vec<String> = present.map(|(name, value)| format!("{name}={}", cell(value))).collect();
            if present.is_empty() { "-".to_owned() } else { present.join(" ") }
        }
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: OutputSettings = OutputSettings { output: Format::Table };

    #[test]
    fn a_table_has_the_columns_and_no_escapes() {
        let items = [
            json!({"id": 1, "roles": ["admin", "user"], "x": null}),
            json!({"id": 20, "roles": [], "x": "\u{1b}[31m"}),
        ];
        let text = TABLE.list(&items, &["id", "roles", "x"]).unwrap();
        assert_eq!(text, "id  roles       x\n--  ----------  -----\n1   admin,user  -\n20  -           \u{fffd}[31m\n");
    }

    #[test]
    fn documents_keep_the_value() {
        let item = json!({"id": 1, "limits": {"max_concurrent": null}});
        let json = OutputSettings { output: Format::Json }.object(&item).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), item);
        let yaml = OutputSettings { output: Format::Yaml }.object(&item).unwrap();
        assert_eq!(serde_yaml_ng::from_str::<Value>(&yaml).unwrap(), item);
    }
}
