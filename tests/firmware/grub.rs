//! Floppies with GRUB that looks around and switches the machine off, or restarts it.

use std::fs;
use std::process::Command;

use tempfile::NamedTempFile;

use crate::installed;

/// What it prints first and last.
pub const START: &str = "GRUB-START";
pub const END: &str = "GRUB-END";
/// What it prints before the output of a command, with the command behind it.
pub const COMMAND: &str = "GRUB-COMMAND ";

/// Few modules: GRUB unpacks itself, which takes long where it is interpreted.
const MODULES: [&str; 4] = ["biosdisk", "serial", "terminal", "echo"];
/// Its own terminal: SeaBIOS would move the cursor in the middle of words.
const TERMINAL: [&str; 3] = ["serial --unit=0 --speed=115200", "terminal_output serial", "echo GRUB-START"];
const FLOPPY: usize = 1_474_560;

/// What GRUB does, and the modules that it needs for that.
pub struct Task {
    modules: &'static [&'static str],
    commands: &'static [&'static str],
    /// The last command, which ends GRUB.
    end: &'static str,
}

/// Lists what the machine has, reads CMOS and registers, and powers off. What changes by itself is not read, or masked by
/// the comparison.
pub const LOOK_AROUND: Task = Task {
    modules: &["date", "lspci", "lsacpi", "cmosdump", "iorw", "halt"],
    commands: &[
        "date",
        "lspci",
        "lsacpi",
        "cmosdump",
        // 8259s: masks and ELCR as firmware leaves them.
        "inb 0x21",
        "inb 0xa1",
        "inb 0x4d0",
        "inb 0x4d1",
        // Keyboard controller, RTC index, port 92h.
        "inb 0x64",
        "inb 0x70",
        "inb 0x92",
        // Floppy controller: main status.
        "inb 0x3f4",
        // COM1 as GRUB has set it, and LPT1, which is not there.
        "inb 0x3f9",
        "inb 0x3fb",
        "inb 0x3fc",
        "inb 0x379",
        // APM, PM1_EN, PM1_CNT, GPE0.
        "inb 0xb2",
        "inw 0x602",
        "inw 0x604",
        "inl 0xafe0",
        // Processors that are there, firmware configuration's DMA register, nothing at all.
        "inb 0xaf00",
        "inl 0x514",
        "inl 0x518",
        "inw 0x5000",
    ],
    end: "halt",
};

/// Restarts the machine.
pub const RESTART: Task = Task { modules: &["reboot"], commands: &[], end: "reboot" };

impl Task {
    fn script(&self) -> String {
        let mut lines: Vec<_> = TERMINAL.map(String::from).into();
        for command in self.commands {
            lines.extend([format!("echo {COMMAND}{command}"), (*command).into()]);
        }
        lines.extend([format!("echo {END}"), self.end.into()]);
        lines.join("\n") + "\n"
    }

    /// Makes the floppy: GRUB's boot sector, and its core behind that. `None` if GRUB is not here.
    pub fn floppy(&self) -> Option<NamedTempFile> {
        const BOOT_SECTOR: &str = "/usr/lib/grub/i386-pc/boot.img";
        if !installed(BOOT_SECTOR, "grub-pc-bin") || !installed("/usr/bin/grub-mkimage", "grub-common") {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let (script, core) = (directory.path().join("script"), directory.path().join("core.img"));
        fs::write(&script, self.script()).unwrap();
        let mut command = Command::new("grub-mkimage");
        command.args(["-O", "i386-pc", "-p", "(fd0)/boot/grub", "-c"]).arg(&script).arg("-o").arg(&core);
        let status = command.args(MODULES).args(self.modules).status().expect("grub-mkimage starts");
        assert!(status.success(), "{command:?}: {status}");

        let mut image = fs::read(BOOT_SECTOR).unwrap();
        image.extend(fs::read(&core).unwrap());
        assert!(image.len() <= FLOPPY);
        image.resize(FLOPPY, 0);
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), image).unwrap();
        Some(file)
    }
}
