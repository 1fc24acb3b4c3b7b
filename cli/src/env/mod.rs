//! Environment variables as settings. An empty variable counts as unset; all invalid variables are
//! reported at once.

mod near_misses;
mod service_links;

use std::ffi::OsStr;

use clap::{
    Arg, ArgMatches, Command,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use crate::error::Error;

/// A variable with an invalid value.
struct InvalidVariable {
    /// The subcommands that lead to the command which reads it.
    command: Vec<String>,
    /// The id of its argument.
    id: String,
    message: String,
}

/// Settings that have no effect beside others: their ids, and the ids of those others. One of each
/// list must be set.
const REPLACED: [(&[&str], &[&[&str]]); 3] = [
    (
        &["db_host", "db_port", "db_user", "db_name", "db_password", "db_password_file"],
        &[&["database_url", "database_url_file"]],
    ),
    (&["environment"], &[&["env"]]),
    (&["context"], &[&["server"], &["token", "token_file"]]),
];

/// A variable that is worth a remark.
pub(crate) enum Remark {
    /// A link to a Service, which was passed over.
    ServiceLink {
        /// The variable.
        variable: String,
    },
    /// A variable that is no setting, with a name close to one.
    NearMiss {
        /// The variable.
        variable: String,
        /// The setting that it probably means.
        setting: String,
    },
}

/// Finds the variables of this process that are worth a remark. `command` has every setting.
pub(crate) fn remarks(command: &Command) -> Vec<Remark> {
    let mut settings = Vec::new();
    collect_settings(command, &mut settings);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut variables: Vec<_> = std::env::vars_os().filter(|(_, value)| !value.is_empty()).collect();
    variables.sort();
    let remark = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let variable = name.into_string().ok()?;
        if service_links::is_service_link(&variable, &value) {
            return settings.contains(&variable.as_str()).then_some(Remark::ServiceLink { variable });
        }
        let setting = near_misses::meant_setting(&variable, &settings)?.to_owned();
        Some(Remark::NearMiss { variable, setting })
    };
    variables.into_iter().filter_map(remark).collect()
}

fn collect_settings(command: &Command, settings: &mut Vec<String>) {
    let named = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
    settings.extend(named.map(str::to_owned));
    command.get_subcommands().for_each(|inner| collect_settings(inner, settings));
}

/// Parses the command line and the environment. Exits, as clap does, on an invalid flag.
pub(crate) fn parse_command_line(command: Command) -> Result<ArgMatches, Error> {
    let mut invalid = Vec::new();
    let matches = without_unusable_variables(command, &[], &mut invalid).get_matches();
    let (path, innermost) = selected_command(&matches);
    let relevant = invalid.iter().filter(|invalid| {
        // A flag overrides the variable, so its value does not matter.
        invalid.command == path
            && innermost.value_source(&invalid.id) != Some(ValueSource::CommandLine)
            && !is_replaced(&invalid.id, innermost)
    });
    let lines: Vec<String> = relevant.map(|invalid| invalid.message.clone()).collect();
    if lines.is_empty() { Ok(matches) } else { Err(Error::config_all(&lines)) }
}

/// Whether other settings leave this one without effect.
fn is_replaced(id: &str, matches: &ArgMatches) -> bool {
    // The id of a setting that the command does not have is an error.
    let is_given = |id: &&str| matches.try_contains_id(id).unwrap_or(false);
    REPLACED.iter().any(|(ids, by)| ids.contains(&id) && by.iter().all(|list| list.iter().any(is_given)))
}

/// The innermost subcommand: its path and its arguments.
fn selected_command(matches: &ArgMatches) -> (Vec<String>, &ArgMatches) {
    let (mut words, mut innermost) = (Vec::new(), matches);
    while let Some((word, next)) = innermost.subcommand() {
        words.push(word.to_owned());
        innermost = next;
    }
    (words, innermost)
}

/// The command without its empty and invalid variables.
fn without_unusable_variables(command: Command, words: &[String], invalid: &mut Vec<InvalidVariable>) -> Command {
    let command = command.mut_args(|arg| {
        let Some(name) = arg.get_env().map(OsStr::to_owned) else { return arg };
        match std::env::var_os(&name) {
            None => arg,
            Some(value) if value.is_empty() => arg.env(Resettable::Reset),
            Some(value) if service_links::is_service_link(&name.to_string_lossy(), &value) => {
                arg.env(Resettable::Reset)
            }
            Some(value) => match check_value(&arg, &value) {
                Ok(()) => arg,
                Err(why) => {
                    let message = format!("{} {why}", name.to_string_lossy());
                    invalid.push(InvalidVariable { command: words.to_vec(), id: arg.get_id().to_string(), message });
                    arg.env(Resettable::Reset)
                }
            },
        }
    });
    command.mut_subcommands(|inner| {
        let words: Vec<String> = words.iter().cloned().chain([inner.get_name().to_owned()]).collect();
        without_unusable_variables(inner, &words, invalid)
    })
}

/// Checks a value against an argument's parser. The error says why it is invalid.
fn check_value(arg: &Arg, value: &OsStr) -> Result<(), String> {
    let mut alone =
        Arg::new("it").long("it").num_args(1).allow_hyphen_values(true).ignore_case(arg.is_ignore_case_set());
    alone = alone.value_parser(arg.get_value_parser().clone());
    if let Some(delimiter) = arg.get_value_delimiter() {
        alone = alone.value_delimiter(delimiter);
    }
    let tried = Command::new("it").no_binary_name(true).arg(alone).try_get_matches_from([OsStr::new("--it"), value]);
    let Err(error) = tried else { return Ok(()) };
    let choices = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(choices)) => choices.join(", "),
        _ => String::new(),
    };
    Err(match (error.kind(), std::error::Error::source(&error)) {
        (ErrorKind::InvalidUtf8, _) => "is not UTF-8".to_owned(),
        (_, Some(why)) => why.to_string(),
        _ if !choices.is_empty() => format!("`{}` is not one of {choices}", value.to_string_lossy()),
        _ => "is not a valid value".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use clap::value_parser;

    use super::*;

    #[test]
    fn an_invalid_value_is_reported_with_a_valid_one() {
        let choice = Arg::new("x").value_parser(["text", "json"]);
        assert_eq!(check_value(&choice, OsStr::new("json")), Ok(()));
        assert_eq!(check_value(&choice, OsStr::new("xml")), Err("`xml` is not one of text, json".to_owned()));
        let number = Arg::new("x").value_parser(value_parser!(u16));
        assert!(check_value(&number, OsStr::new("-1")).is_err());
        let list = Arg::new("x").value_delimiter(',').value_parser(value_parser!(u16));
        assert_eq!(check_value(&list, OsStr::new("1,2")), Ok(()));
    }
}
