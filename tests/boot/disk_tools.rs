//! What the tests of disks have in common: a CD with programs, files that are written in the guest, and a look at both from outside.
//!
//! The CD brings Debian's mke2fs and hdparm, with the libraries that they need: to run them is to read it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::guest::{FULL, Guest};

pub const SECTOR: u64 = 512;
pub const MIB: u64 = 1 << 20;
/// Sectors of a disk with room for the files.
pub const SMALL: u64 = 24 * MIB / SECTOR;
/// Programs of the host that the guest runs from the CD.
const TOOLS: [&str; 2] = ["/usr/sbin/mke2fs", "/usr/sbin/hdparm"];
/// Runs one of them.
pub const TOOL: &str = "LD_LIBRARY_PATH=/tmp/cd /tmp/cd/ld-linux-x86-64.so.2 /tmp/cd/";
/// The last line of the files that are written at the same time.
const LAST_LINES: [u32; 3] = [21_000, 22_000, 23_000];
/// The last line of the file on the CD.
const ON_CD: u32 = 30_000;

/// The command line of the kernel: the tools use wider registers than are saved with `noxsave`.
pub fn append() -> String {
    FULL.replace("noxsave", "")
}

/// The lines that `seq` prints.
fn sequence(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

/// Runs a program of the host and returns what it prints. `None`, with a notice, if it is not here.
pub fn run(program: &str, package: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).env("LC_ALL", "C").output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: {program} does not start: {error} (Debian: {package})");
            return None;
        }
    };
    let [said, complained] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{said}{complained}", output.status);
    Some(said)
}

/// The files of the tools: the programs, their libraries and what loads these.
fn files_of_tools() -> Option<Vec<String>> {
    let mut files = Vec::new();
    for tool in TOOLS {
        if !Path::new(tool).exists() {
            eprintln!("SKIPPED: {tool} is not installed (Debian: e2fsprogs hdparm)");
            return None;
        }
        // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)", "/lib64/ld-linux-x86-64.so.2 (0x...)"
        let libraries = run("ldd", "libc-bin", &[tool])?;
        let paths = libraries.split_whitespace().filter(|word| word.starts_with('/'));
        files.extend(paths.map(str::to_owned).chain([tool.to_owned()]));
    }
    files.sort();
    files.dedup();
    Some(files)
}

/// Makes a CD with the tools and a file with lines. `None`, with a notice, if something is not here that it takes.
pub fn cd(directory: &TempDir) -> Option<PathBuf> {
    let tools = files_of_tools()?;
    let (image, contents) = (directory.path().join("cd"), directory.path().join("cd.files"));
    fs::create_dir(&contents).unwrap();
    fs::write(contents.join("lines.txt"), sequence(ON_CD)).unwrap();
    for file in &tools {
        fs::copy(file, contents.join(Path::new(file).file_name().unwrap())).unwrap();
    }
    let [image_name, contents] = [&image, &contents].map(|path| path.display().to_string());
    run("xorriso", "xorriso", &["-as", "mkisofs", "-quiet", "-R", "-o", &image_name, &contents])?;
    Some(image)
}

/// Makes a disk without contents.
pub fn disk(directory: &TempDir, name: &str, sectors: u64) -> PathBuf {
    let path = directory.path().join(name);
    File::create(&path).unwrap().set_len(sectors * SECTOR).unwrap();
    path
}

/// Checks what a command prints.
pub fn check_says(guest: &mut Guest, command: &str, expected: &str) {
    let said = guest.run(command);
    guest.check(said == expected, || format!("{command}: {said:?} instead of {expected:?}"));
}

/// Checks that a command prints all of these.
pub fn check_tells(guest: &mut Guest, command: &str, expected: &[&str]) {
    let said = guest.run(command);
    for text in expected {
        guest.check(said.contains(text), || format!("{command} does not say {text:?}:\n{said}"));
    }
}

/// Checks that two commands print the same.
pub fn check_same(guest: &mut Guest, command: &str, other: &str) {
    let [first, second] = [command, other].map(|command| guest.run(command));
    guest.check(first == second, || format!("{command}: {first:?}, but {other}: {second:?}"));
}

/// Mounts a CD at /tmp/cd and checks its lines.
pub fn check_cd(guest: &mut Guest, cd: &str) {
    guest.run(&format!("mkdir -p /tmp/cd && mount -t iso9660 {cd} /tmp/cd"));
    check_same(guest, "md5sum < /tmp/cd/lines.txt", &format!("seq {ON_CD} | md5sum"));
}

/// Checks the files that were written at the same time, in a file system that is mounted at /tmp/disk.
pub fn check_files(guest: &mut Guest) {
    for last in LAST_LINES {
        check_same(guest, &format!("md5sum < /tmp/disk/{last}"), &format!("seq {last} | md5sum"));
    }
}

/// Has three processes write to the file system of a disk.
pub fn fill(guest: &mut Guest, disk: &str) {
    guest.run(&format!("mkdir -p /tmp/disk && mount -t ext4 {disk} /tmp/disk"));
    let writers = LAST_LINES.map(|last| format!("seq {last} > {last} & ")).concat();
    guest.run(&format!("cd /tmp/disk; {writers} wait; sync; cd /"));
    guest.run(&format!("umount /tmp/disk && mount -t ext4 -o ro {disk} /tmp/disk"));
    check_files(guest);
    guest.run("umount /tmp/disk");
}

/// Checks the file system with programs of the host.
pub fn check_from_outside(image: &Path) {
    let image = image.display().to_string();
    run("/usr/sbin/e2fsck", "e2fsprogs", &["-f", "-n", &image]);
    for last in LAST_LINES {
        let contents = run("/usr/sbin/debugfs", "e2fsprogs", &["-R", &format!("cat /{last}"), &image]);
        assert!(contents.is_none_or(|contents| contents == sequence(last)), "/{last} is another file");
    }
}
