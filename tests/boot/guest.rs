//! The test kernel in natoma, and the shell on its console.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::test_kernel;

/// What the guest's /init prints before it starts the shell.
const SHELL_READY: &str = "natoma-test: shell ready";
/// From the start of natoma to the shell. Takes half a minute where the guest's kernel is interpreted; more when the
/// host is busy.
const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// What a command may take over and above what it is known to take.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// Something that the guest's programs don't print.
const END_OF_OUTPUT: &str = "=-=";

/// The command line that a person would type.
pub const BARE: &str = "console=ttyS0";
/// The one that asks the kernel to leave out whatever takes long where it is interpreted.
pub const FULL: &str = "console=ttyS0 panic=-1 reboot=k lpj=1000000 tsc=reliable mitigations=off noxsave nofsgsbase \
                        rodata=off clearcpuid=erms,smap,popcnt,cx16,rdrand,rdseed,fsrm";

/// The program under test. `NATOMA_BIN` names another, to try these tests on another virtual machine monitor.
pub fn program() -> PathBuf {
    std::env::var_os("NATOMA_BIN").map_or_else(|| env!("CARGO_BIN_EXE_natoma").into(), PathBuf::from)
}

/// A guest with a shell.
pub struct Guest {
    console: Console,
}

impl Guest {
    /// Starts natoma with a test kernel, its command line and further options, and waits for the shell. `None` if that
    /// is not possible on this host.
    pub fn boot(kernel: &str, append: &str, options: &[&str]) -> Option<Self> {
        let (kernel, initrd) = (test_kernel::file(kernel)?, test_kernel::file("initramfs.cpio")?);
        let mut command = Command::new(program());
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).args(["-append", append]).args(options);
        // The time zone of `-rtc base=localtime`: five and a half hours before UTC all the year.
        command.env("TZ", "TST-5:30");
        let mut guest = Self { console: Console::start(&mut command) };
        guest.expect_shell();
        Some(guest)
    }

    /// Waits for the shell of a kernel that starts, and sees to it that nothing mixes with what the commands print.
    pub fn expect_shell(&mut self) {
        self.console.expect(SHELL_READY, BOOT_LIMIT);
        self.console.expect("# ", COMMAND_LIMIT);
        // The product, because what is typed here is still echoed.
        self.console.send("dmesg -n 1; stty -echo; PS1=; echo quiet $((6 * 7))\n");
        self.console.expect("quiet 42\n", COMMAND_LIMIT);
    }

    /// Starts a command. What it prints ends with [`finish`](Self::finish).
    pub fn begin(&mut self, command: &str) {
        self.console.send(&format!("{command}; echo $?{END_OF_OUTPUT}\n"));
    }

    /// Waits for the end of a command, which must succeed, and returns what it printed.
    pub fn finish(&mut self, limit: Duration) -> String {
        let output = self.console.expect(END_OF_OUTPUT, limit).before;
        self.console.expect("\n", COMMAND_LIMIT);
        let (output, status) = output.rsplit_once('\n').unwrap_or(("", &output));
        if status != "0" {
            self.fail(&format!("a command of the guest failed with status {status}"));
        }
        output.to_string()
    }

    /// Runs a command, which must succeed, and returns what it printed.
    pub fn run(&mut self, command: &str) -> String {
        self.begin(command);
        self.finish(COMMAND_LIMIT)
    }

    /// Types something that is not a command.
    pub fn send(&mut self, text: &str) {
        self.console.send(text);
    }

    /// Waits for a text; returns what came before it, and when it was there.
    pub fn expect(&mut self, text: &str) -> (String, Instant) {
        let found = self.console.expect(text, COMMAND_LIMIT);
        (found.before, found.at)
    }

    /// Types the last command and waits for the end of natoma. Returns its status and what it had to say itself.
    pub fn end(mut self, command: &str) -> (ExitStatus, String) {
        self.console.send(&format!("{command}\n"));
        (self.console.wait(COMMAND_LIMIT), self.console.complaints())
    }

    /// When natoma was started.
    pub fn started(&self) -> Instant {
        self.console.started()
    }

    /// Ends the test with a message and all that was seen of the guest.
    pub fn fail(&self, message: &str) -> ! {
        self.console.fail(message)
    }

    /// Ends the test with a message if something is not as it should be.
    pub fn check(&self, right: bool, message: impl FnOnce() -> String) {
        if !right {
            self.fail(&message());
        }
    }
}
