//! What natoma says to the person who started it.

use std::fmt::Display;
use std::io::{self, Write};

/// Says `text` on standard error, after the program's name. With nobody left to hear it, after a hang-up say, that is no
/// error; `eprintln!` would panic.
pub fn tell(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "natoma: {text}");
}

/// Writes `text` on standard output, in a line of its own, as [`tell`] does on standard error.
pub fn announce(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}
