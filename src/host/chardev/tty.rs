//! A serial line or terminal of the host: the guest's line parameters, breaks and modem outputs reach it.
//!
//! Not done: the modem status inputs of the host's line are not shown to the guest, which sees those of a null modem.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use devices::backend::char::{LineParameters, Parity};
use nix::libc;
use nix::sys::termios::{
    BaudRate, ControlFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw, cfsetspeed, tcgetattr, tcsetattr,
};
use nix::unistd::isatty;

use super::connection::Connection;
use crate::host::channel::Channel;

/// The control of a serial line beside its bytes.
pub(super) struct SerialLine(OwnedFd);

impl SerialLine {
    /// Sets the line to what the guest programmed; a rate that the host's kernel has no name for becomes the next
    /// lower one.
    pub fn set_parameters(&self, parameters: LineParameters) {
        let result = tcgetattr(&self.0).and_then(|mut termios| {
            apply(&mut termios, parameters)?;
            tcsetattr(&self.0, SetArg::TCSANOW, &termios)
        });
        if let Err(error) = result {
            log::warn!("the host's serial line does not take {parameters:?}: {error}");
        }
    }

    pub fn set_break(&self, on: bool) {
        let request = if on { libc::TIOCSBRK } else { libc::TIOCCBRK };
        // SAFETY: the descriptor is open, and these requests have no argument.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request) };
        self.report("send a break", result);
    }

    pub fn set_modem_outputs(&self, dtr: bool, rts: bool) {
        for (bit, on) in [(libc::TIOCM_DTR, dtr), (libc::TIOCM_RTS, rts)] {
            let request = if on { libc::TIOCMBIS } else { libc::TIOCMBIC };
            // SAFETY: the descriptor is open, and these requests read one integer, which outlives the call.
            let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw const bit) };
            self.report("drive a modem output", result);
        }
    }

    /// Pseudo-terminals have neither breaks nor modem lines, and are used in place of serial lines.
    fn report(&self, what: &str, result: libc::c_int) {
        if result < 0 {
            log::debug!("the host's serial line can't {what}: {}", io::Error::last_os_error());
        }
    }
}

fn apply(termios: &mut Termios, parameters: LineParameters) -> nix::Result<()> {
    cfsetspeed(termios, baud_rate(parameters.baud))?;
    let flags = &mut termios.control_flags;
    flags.remove(ControlFlags::CSIZE | ControlFlags::PARENB | ControlFlags::PARODD | ControlFlags::CMSPAR);
    flags.insert(match parameters.data_bits {
        5 => ControlFlags::CS5,
        6 => ControlFlags::CS6,
        7 => ControlFlags::CS7,
        _ => ControlFlags::CS8,
    });
    flags.insert(match parameters.parity {
        Parity::None => ControlFlags::empty(),
        Parity::Even => ControlFlags::PARENB,
        Parity::Odd => ControlFlags::PARENB | ControlFlags::PARODD,
        Parity::Space => ControlFlags::PARENB | ControlFlags::CMSPAR,
        Parity::Mark => ControlFlags::PARENB | ControlFlags::PARODD | ControlFlags::CMSPAR,
    });
    flags.set(ControlFlags::CSTOPB, parameters.two_stop_bits);
    Ok(())
}

/// The highest rate with a name that is not above `baud`, give or take what a divisor can't express.
fn baud_rate(baud: u32) -> BaudRate {
    const RATES: [(u32, BaudRate); 18] = [
        (115_200, BaudRate::B115200),
        (57_600, BaudRate::B57600),
        (38_400, BaudRate::B38400),
        (19_200, BaudRate::B19200),
        (9600, BaudRate::B9600),
        (4800, BaudRate::B4800),
        (2400, BaudRate::B2400),
        (1800, BaudRate::B1800),
        (1200, BaudRate::B1200),
        (600, BaudRate::B600),
        (300, BaudRate::B300),
        (200, BaudRate::B200),
        (150, BaudRate::B150),
        (134, BaudRate::B134),
        (110, BaudRate::B110),
        (75, BaudRate::B75),
        (50, BaudRate::B50),
        (0, BaudRate::B50),
    ];
    let baud = baud.saturating_add(baud / 50);
    RATES.into_iter().find(|(rate, _)| *rate <= baud).map_or(BaudRate::B50, |(_, rate)| rate)
}

/// Opens a terminal and makes it transparent: 115200 baud 8N1 until the guest says otherwise.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(path)
        .with_context(|| format!("can't open {}: give the path of a serial line that you may use", path.display()))?;
    if !isatty(&file).unwrap_or(false) {
        bail!("{} is no terminal: use a file or a pipe for it", path.display());
    }
    make_raw(&file).with_context(|| format!("can't set up {}", path.display()))?;
    let clone = |file: &std::fs::File| -> Result<OwnedFd> { Ok(file.try_clone()?.into()) };
    let line = SerialLine(clone(&file)?);
    let (input, output) = (Channel::own(clone(&file)?)?, Channel::own(file.into())?);
    Ok(Connection::new(Some(input), Some(output)).with_line(line))
}

/// Makes a terminal pass all bytes unchanged.
pub(super) fn make_raw(terminal: impl AsFd) -> nix::Result<()> {
    let mut termios = tcgetattr(&terminal)?;
    cfmakeraw(&mut termios);
    termios.control_flags.insert(ControlFlags::CLOCAL | ControlFlags::CREAD);
    termios.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    termios.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    // The speed of a pseudo-terminal is only a number; that of a real line follows when the guest sets it.
    cfsetspeed(&mut termios, BaudRate::B115200)?;
    tcsetattr(&terminal, SetArg::TCSANOW, &termios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_the_kernel_knows() {
        for (baud, rate) in [
            (115_200, BaudRate::B115200),
            (4_000_000, BaudRate::B115200),
            (9600, BaudRate::B9600),
            // 115200 / 12 / ... as divisors give it: 134.5 baud is 134.
            (9598, BaudRate::B9600),
            (100, BaudRate::B75),
            (1, BaudRate::B50),
        ] {
            assert_eq!(baud_rate(baud), rate, "{baud}");
        }
    }
}
