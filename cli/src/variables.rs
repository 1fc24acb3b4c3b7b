//! The environment as its author meant it: an empty variable counts as unset, and every variable that is no value of its
//! setting is named, all of them at once.

use std::ffi::OsStr;

use clap::{
    Arg, ArgMatches, Command,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use crate::failure::Failure;

/// A variable that holds no value of its setting.
struct Wrong {
    /// The command that reads it, as words.
    command: Vec<String>,
    /// Its flag's id.
    id: String,
    why: String,
}

/// What was typed and set, for this command line. Ends the process as clap does where a flag is wrong.
pub(crate) fn matches(command: Command) -> Result<ArgMatches, Failure> {
    let mut wrong = Vec::new();
    let matches = meant(command, &[], &mut wrong).get_matches();
    let (used, innermost) = used(&matches);
    let of_this = wrong.iter().filter(|wrong| {
        // Nobody reads a variable that a flag outranks.
        wrong.command == used && innermost.value_source(&wrong.id) != Some(ValueSource::CommandLine)
    });
    let lines: Vec<String> = of_this.map(|wrong| wrong.why.clone()).collect();
    if lines.is_empty() { Ok(matches) } else { Err(Failure::wrong(&lines)) }
}

/// The words of the command that is run, and what it was given.
fn used(matches: &ArgMatches) -> (Vec<String>, &ArgMatches) {
    let (mut words, mut innermost) = (Vec::new(), matches);
    while let Some((word, next)) = innermost.subcommand() {
        words.push(word.to_owned());
        innermost = next;
    }
    (words, innermost)
}

/// The same command without the variables that are empty or no values.
fn meant(command: Command, words: &[String], wrong: &mut Vec<Wrong>) -> Command {
    let command = command.mut_args(|arg| {
        let Some(name) = arg.get_env().map(OsStr::to_owned) else { return arg };
        match std::env::var_os(&name) {
            None => arg,
            Some(value) if value.is_empty() => arg.env(Resettable::Reset),
            Some(value) => match fits(&arg, &value) {
                Ok(()) => arg,
                Err(why) => {
                    let why = format!("{} {why}", name.to_string_lossy());
                    wrong.push(Wrong { command: words.to_vec(), id: arg.get_id().to_string(), why });
                    arg.env(Resettable::Reset)
                }
            },
        }
    });
    command.mut_subcommands(|inner| {
        let words: Vec<String> = words.iter().cloned().chain([inner.get_name().to_owned()]).collect();
        meant(inner, &words, wrong)
    })
}

/// Whether a setting takes this value; otherwise why not.
fn fits(arg: &Arg, value: &OsStr) -> Result<(), String> {
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
        _ => "is not a value of this setting".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use clap::value_parser;

    use super::*;

    #[test]
    fn what_does_not_fit_is_said_with_what_would() {
        let choice = Arg::new("x").value_parser(["text", "json"]);
        assert_eq!(fits(&choice, OsStr::new("json")), Ok(()));
        assert_eq!(fits(&choice, OsStr::new("xml")), Err("`xml` is not one of text, json".to_owned()));
        let number = Arg::new("x").value_parser(value_parser!(u16));
        assert!(fits(&number, OsStr::new("-1")).is_err());
        let list = Arg::new("x").value_delimiter(',').value_parser(value_parser!(u16));
        assert_eq!(fits(&list, OsStr::new("1,2")), Ok(()));
    }
}
