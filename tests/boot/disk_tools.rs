//! What the tests of disks have in common: a CD with programs, files that are written in the guest, and a look at both from outside.
//!
//! The CD brings programs of Debian's, with the libraries that they need: to run them is to read it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guest::{FULL, Guest};
use crate::qmp::Qmp;

pub const SECTOR: u64 = 512;
pub const MIB: u64 = 1 << 20;
/// Sectors of a disk with room for the files.
pub const SMALL: u64 = 24 * MIB / SECTOR;
/// Programs of the host that the guest runs from the CD.
const TOOLS: [(&str, &str); 3] =
    [("/usr/sbin/mke2fs", "e2fsprogs"), ("/usr/sbin/hdparm", "hdparm"), ("/usr/sbin/blkid", "util-linux")];
/// Runs one of them.
pub const TOOL: &str = "LD_LIBRARY_PATH=/tmp/cd /tmp/cd/ld-linux-x86-64.so.2 /tmp/cd/";
/// Makes a file system on a disk that holds zeroes: to write those of the journal once more would take long where the guest's kernel
/// is interpreted.
pub const MKE2FS: &str =
    "LD_LIBRARY_PATH=/tmp/cd /tmp/cd/ld-linux-x86-64.so.2 /tmp/cd/mke2fs -q -t ext4 -E lazy_journal_init=1";
/// The last line of the files that are written at the same time.
const LAST_LINES: [u32; 3] = [7_000, 8_000, 9_000];
/// What it may take to write or read the files of several disks.
const LIMIT: Duration = Duration::from_secs(300);
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
    for (tool, package) in TOOLS {
        if !Path::new(tool).exists() {
            eprintln!("SKIPPED: {tool} is not installed (Debian: {package})");
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

/// Makes a CD of so many blocks with a name at its beginning.
fn small_cd(directory: &TempDir, name: &str, blocks: usize) -> String {
    let path = directory.path().join(name);
    fs::write(&path, format!("{name:2048}").repeat(blocks)).unwrap();
    path.display().to_string()
}

/// Changes the CD in a drive, which monitors know by these arguments and the guest by its name, and takes it out.
pub fn change_cd(guest: &mut Guest, qmp: &mut Qmp, directory: &TempDir, drive: &Value, name: &str) {
    let beginning = format!("dd if=/dev/{name} bs=6 count=1 2>/dev/null");
    for (label, blocks) in [("CD one", 100), ("CD two", 300)] {
        let mut medium = drive.clone();
        medium["filename"] = json!(small_cd(directory, label, blocks));
        medium["format"] = json!("raw");
        qmp.run("blockdev-change-medium", &medium);
        check_says(guest, &format!("{beginning}; cat /sys/block/{name}/size"), &format!("{label}{}", blocks * 4));
    }
    qmp.run("eject", drive);
    guest.run(&format!("! {beginning}"));
}

/// Where a disk is mounted.
pub fn directory(disk: &str) -> String {
    format!("/tmp/mounted{disk}")
}

/// Mounts disks.
pub fn mount(guest: &mut Guest, disks: &[&str], options: &str) {
    for disk in disks {
        let directory = directory(disk);
        guest.run(&format!("mkdir -p {directory} && mount -t ext4 -o {options} {disk} {directory}"));
    }
}

/// Unmounts them.
pub fn unmount(guest: &mut Guest, disks: &[&str]) {
    for disk in disks {
        guest.run(&format!("umount {}", directory(disk)));
    }
}

/// Has three processes for each of the disks, which are mounted, write to it, all at the same time.
pub fn write_files(guest: &mut Guest, disks: &[&str]) {
    let mut writers = String::new();
    for disk in disks {
        for last in LAST_LINES {
            writers += &format!("seq {last} > {}/{last} & ", directory(disk));
        }
    }
    // In a shell of their own: this one would tell of their ends.
    guest.begin(&format!("({writers} wait; sync)"));
    guest.finish(LIMIT);
}

/// Checks the files that were written so on disks that are mounted.
pub fn check_files(guest: &mut Guest, disks: &[&str]) {
    for last in LAST_LINES {
        let read = disks.iter().map(|disk| format!("; md5sum < {}/{last}", directory(disk))).collect::<String>();
        guest.begin(&format!("seq {last} | md5sum{read}"));
        let sums = guest.finish(LIMIT);
        let mut lines = sums.lines();
        let expected = lines.next().unwrap_or_default();
        let right = sums.lines().count() == 1 + disks.len() && lines.all(|sum| sum == expected);
        guest.check(right, || format!("/{last} should have the first of these sums on {disks:?}:\n{sums}"));
    }
}

/// Has processes write to the file system of a disk, and reads what they wrote from the disk.
pub fn fill(guest: &mut Guest, disk: &str) {
    mount(guest, &[disk], "rw");
    write_files(guest, &[disk]);
    unmount(guest, &[disk]);
    mount(guest, &[disk], "ro");
    check_files(guest, &[disk]);
    unmount(guest, &[disk]);
}

/// Copies what a disk with an image of a format holds to a file.
pub fn contents(directory: &TempDir, image: &Path, format: &str) -> PathBuf {
    let copy = directory.path().join("contents");
    let [from, to] = [image, &copy].map(|path| path.display().to_string());
    if format != "raw" {
        run("qemu-img", "qemu-utils", &["check", "-q", "-f", format, &from]);
    }
    run("qemu-img", "qemu-utils", &["convert", "-f", format, "-O", "raw", &from, &to]);
    copy
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
