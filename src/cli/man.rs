//! Manual pages, made of what `--help` says.

use clap::{Arg, Command};

/// The page of a program and of each of its commands, in roff, by the name of its file.
pub(super) fn pages(program: Command) -> Vec<(String, String)> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
    std::iter::once(&program)
        .chain(commands)
        .map(|command| (format!("{}.1", page_name(command)), page(&program, command)))
        .collect()
}

/// What `man` finds the page of a command by, such as `small-etl-load`.
fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page(program: &Command, command: &Command) -> String {
    let (name, program_name) = (page_name(command), program.get_name());
    let version = program.get_version().unwrap_or_default();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let about = about.replace('\n', " ");
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let long = command.get_long_about().map_or_else(|| about.clone(), ToString::to_string);
    let mut parts = vec![
        format!(".TH \"{}\" 1 \"\" \"{program_name} {version}\"\n", name.to_uppercase()),
        format!(".SH NAME\n{} \\- {}\n", escaped(name), escaped(&about)),
        format!(".SH SYNOPSIS\n.nf\n{}\n.fi\n.SH DESCRIPTION\n{}\n", escaped(usage), paragraphs(&long)),
    ];
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let (positionals, options): (Vec<&Arg>, Vec<&Arg>) = arguments.partition(|argument| argument.is_positional());
    for (heading, entries) in [("ARGUMENTS", positionals), ("OPTIONS", options)] {
        if !entries.is_empty() {
            parts.push(format!(".SH {heading}\n"));
            parts.extend(entries.into_iter().map(entry));
        }
    }
    let commands: Vec<&Command> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    if !commands.is_empty() {
        parts.push(".SH COMMANDS\n".to_owned());
        parts.extend(commands.into_iter().map(|command| {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            format!(".TP\n\\fB{}\\fR(1)\n{}\n", escaped(page_name(command)), escaped(&about))
        }));
    }
    if let Some(text) = command.get_after_long_help().or(command.get_after_help()) {
        parts.extend(text.to_string().split("\n\n").map(section));
    }
    if !std::ptr::eq(program, command) {
        parts.push(format!(".SH SEE ALSO\n\\fB{}\\fR(1)\n", escaped(program_name)));
    }
    parts.concat()
}

/// What one argument is called, and what it does.
fn entry(argument: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(argument.get_short().map(|short| format!("\\fB\\-{short}\\fR")));
    names.extend(argument.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", escaped(long))));
    let mut head = names.join(", ");
    if argument.get_action().takes_values() {
        let values = argument.get_value_names().unwrap_or_default();
        let values: Vec<String> = values.iter().map(|value| format!("\\fI{}\\fR", escaped(value))).collect();
        head = [head, values.join(" ")].join(" ");
    }
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut notes = Vec::new();
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() && argument.get_action().takes_values() {
        notes.push(format!("default: {}", defaults.join(" ")));
    }
    let possible: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| value.get_name().to_owned())
        .collect();
    if !possible.is_empty() && argument.get_action().takes_values() {
        notes.push(format!("possible values: {}", possible.join(", ")));
    }
    let notes: Vec<String> = notes.iter().map(|note| format!("\n[{}]", escaped(note))).collect();
    format!(".TP\n{}\n{}{}\n", head.trim_start(), paragraphs(&help), notes.concat())
}

/// A part of what stands after the options: its first line is a heading, and the rest is kept as it is.
fn section(text: &str) -> String {
    match text.split_once('\n') {
        Some((heading, rest)) if heading.ends_with(':') => {
            let heading = heading.trim_end_matches(':').to_uppercase();
            format!(".SH {}\n.nf\n{}\n.fi\n", escaped(&heading), escaped(rest))
        }
        _ => format!(".PP\n{}\n", escaped(text)),
    }
}

fn paragraphs(text: &str) -> String {
    text.split("\n\n").map(escaped).collect::<Vec<_>>().join("\n.PP\n")
}

/// Text that roff prints as it is: no hyphen is broken or made typographic, no line is a request.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines =
        text.lines().map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;

    #[test]
    fn every_command_that_help_lists_has_a_page_with_all_its_options() {
        let mut program = Arguments::command();
        program.build();
        let pages = pages(Arguments::command());
        let listed = program.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
        let mut options = 0;
        for command in listed {
            let name = format!("small-etl-{}.1", command.get_name());
            let (_, page) = pages.iter().find(|(page, _)| *page == name).unwrap_or_else(|| panic!("{name} is missing"));
            for long in command.get_arguments().filter_map(Arg::get_long) {
                assert!(page.contains(&format!("\\fB\\-\\-{}\\fR", escaped(long))), "{name} has no --{long}");
                options += 1;
            }
            assert!(
                pages[0].1.contains(&escaped(&format!("small-etl-{}", command.get_name()))),
                "{name} is not listed"
            );
        }
        assert!(options > 20, "{options}");
        assert!(!pages.iter().any(|(name, _)| name == "small-etl-man.1" || name == "small-etl-help.1"));
    }

    #[test]
    fn a_page_has_usage_help_defaults_examples_and_exit_codes() {
        let pages = pages(Arguments::command());
        let page = |name| &pages.iter().find(|(page, _)| page == name).unwrap().1;
        let sample = page("small-etl-sample.1");
        assert!(sample.contains("\\fB\\-\\-rows\\fR \\fIROWS\\fR\nThe number of records\n[default: 1000]"), "{sample}");
        assert!(sample.contains("[possible values: asset, trade]"), "{sample}");
        let program = page("small-etl.1");
        assert!(program.contains(".SH EXAMPLES\n.nf\n  small\\-etl guess trades"), "{program}");
        assert!(program.contains(".SH EXIT CODES\n.nf\n  0  done"), "{program}");
    }

    #[test]
    fn text_is_never_a_request_of_roff() {
        assert_eq!(escaped(".TH a\n'b\n\\fB-x"), "\\&.TH a\n\\&'b\n\\efB\\-x");
    }
}
