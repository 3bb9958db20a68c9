//! Completion scripts for shells, by `clap_complete` from the table of options.
//!
//! clap writes options as `--name`; the documented spelling here is `-name`, so that is what the scripts are changed to.

use super::arguments::completion_command;
use super::options;
use clap_complete::Shell;

/// The completion script for a shell.
pub fn script(shell: &str) -> Option<String> {
    let generator = shell.parse::<Shell>().ok()?;
    let mut bytes = Vec::new();
    clap_complete::generate(generator, &mut completion_command(), "natoma", &mut bytes);
    let mut script = String::from_utf8(bytes).ok()?;
    if generator == Shell::Fish {
        // fish calls `--name` a long option and `-name` an old-style one.
        return Some(script.replace(" -l ", " -o "));
    }
    for option in options::all() {
        // Every name in a script ends with one of these; zsh's `=` would join option and argument.
        for (end, new_end) in [("=[", "["), (" ", " "), (")", ")"), ("[", "["), ("\"", "\""), ("\n", "\n")] {
            script = script.replace(&format!("--{}{end}", option.name), &format!("-{}{new_end}", option.name));
        }
    }
    // zsh would take the letters of a name for options of one letter.
    Some(script.replace("_arguments_options=(-s ", "_arguments_options=("))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// What bash offers for the last of the words.
    fn bash_offers(words: &[&str]) -> Vec<String> {
        let mut bash = Command::new("bash").arg("-s").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let last = words.len() - 1;
        let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let input = format!(
            "{}\nCOMP_WORDS=({}); COMP_CWORD={last}\n_natoma natoma '{}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            script("bash").unwrap(),
            quoted.join(" "),
            words[last],
            words[last - 1],
        );
        bash.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = bash.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_options_as_they_are_documented() {
        assert_eq!(bash_offers(&["natoma", "-mach"]), ["-machine"]);
        assert_eq!(bash_offers(&["natoma", "-no-re"]), ["-no-reboot"]);
        assert_eq!(bash_offers(&["natoma", "-S", "-chard"]), ["-chardev"]);
        assert_eq!(bash_offers(&["natoma", "-completion", "fi"]), ["fish"]);
        let all = bash_offers(&["natoma", "-"]);
        let shown = options::all().filter(|option| !option.help.is_empty());
        assert_eq!(all, shown.map(|option| format!("-{}", option.name)).collect::<Vec<_>>());
    }

    #[test]
    fn no_script_offers_two_dashes() {
        for shell in ["bash", "zsh", "fish"] {
            let script = script(shell).unwrap();
            for option in options::all() {
                assert!(!script.contains(&format!("--{} ", option.name)), "{shell}: --{}", option.name);
                assert!(!script.contains(&format!("--{}=", option.name)), "{shell}: --{}", option.name);
            }
        }
        assert_eq!(script("tcsh"), None);
    }
}
