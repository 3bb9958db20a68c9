//! Compiles what runs in guests: the guests of `tests/guest`, of which natoma embeds one and tests and benchmarks load the
//! others, and the option ROM of `src/boot/roms`.
//!
//! A guest is a freestanding program. It is built by calling rustc directly, for natoma's own target (whose `core` is
//! certainly installed) but with flags of its own: what is set for natoma (`RUSTFLAGS`, profile, instrumentation) must
//! not reach code that has no operating system below it. Paths are given relative to the package and nothing here
//! depends on the time, so the same sources and compiler give the same bytes wherever they lie.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where the sources are, relative to the package.
const SOURCE: &str = "tests/guest";
/// Where the source of the option ROM is.
const ROM_SOURCE: &str = "src/boot/roms";

/// The programs, and the root file of each.
const PROGRAMS: [(&str, &str); 3] = [
    ("tour", "tests/guest/src/bin/tour/main.rs"),
    ("bench", "tests/guest/src/bin/bench.rs"),
    ("disk", "tests/guest/src/bin/disk/main.rs"),
];

fn main() -> Result<(), Box<dyn Error>> {
    for part in ["src", "guest.ld"] {
        println!("cargo::rerun-if-changed={SOURCE}/{part}");
    }
    // The program's tables hold thousands of addresses. In the packed form the dynamic linker is through with them in half the
    // time, which is the start of every machine. (glibc 2.36, musl 1.2.4 and later know it.)
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    let out = PathBuf::from(required("OUT_DIR")?);

    let library = out.join("libguest.rlib");
    run(rustc("guest", &format!("{SOURCE}/src/lib.rs"), &library)?.arg("--crate-type=rlib"))?;

    for (name, root) in PROGRAMS {
        let elf = out.join(name).with_extension("elf");
        let mut command = rustc(name, root, &elf)?;
        command.arg("--extern").arg(concat("guest=", &library));
        run(link(&mut command, &format!("{SOURCE}/guest.ld")))?;
        println!("cargo::rustc-env=NATOMA_GUEST_{}={}", name.to_uppercase(), elf.display());
    }
    option_rom(&out)
}

/// Makes the option ROM: a flat image with its checksums filled in.
fn option_rom(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROM_SOURCE}");
    let image = out.join("linux.rom");
    let mut command = rustc("linux_rom", &format!("{ROM_SOURCE}/main.rs"), &image)?;
    run(link(&mut command, &format!("{ROM_SOURCE}/rom.ld")).arg("-Clink-arg=-Wl,--oformat=binary"))?;

    let mut rom = fs::read(&image)?;
    let pnp = usize::from(u16::from_le_bytes([rom[0x1a], rom[0x1b]]));
    let pnp_len = 16 * usize::from(rom[pnp + 5]);
    if rom.len() != 512 * usize::from(rom[2]) || !rom[pnp..].starts_with(b"$PnP") {
        return Err(format!("{ROM_SOURCE} makes no option ROM: {} bytes", rom.len()).into());
    }
    rom[pnp + 9] = checksum(&rom[pnp..pnp + pnp_len]);
    rom[5] = checksum(&rom);
    fs::write(&image, rom)?;
    println!("cargo::rustc-env=NATOMA_ROM_LINUX={}", image.display());
    Ok(())
}

/// What makes the sum of all bytes zero, in place of a zero among them.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte))
}

/// Lets rustc link a program that stands alone, by a linker script.
fn link<'a>(command: &'a mut Command, script: &str) -> &'a mut Command {
    command.arg("--crate-type=bin");
    for argument in ["-nostdlib", "-nostartfiles", "-static", "-no-pie", "-Wl,--build-id=none,-z,norelro"] {
        command.arg(format!("-Clink-arg={argument}"));
    }
    command.arg(format!("-Clink-arg=-Wl,-T,{script}"));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        command.arg(concat("-Clinker=", linker));
    }
    command
}

/// The compiler that cargo uses, told what the library and the programs have in common.
fn rustc(name: &str, root: &str, output: &Path) -> Result<Command, Box<dyn Error>> {
    let mut command = Command::new(required("RUSTC")?);
    command.current_dir(required("CARGO_MANIFEST_DIR")?);
    command.args(["--edition=2024", "--crate-name", name]).arg("--target").arg(required("TARGET")?);
    for option in ["opt-level=2", "panic=abort", "relocation-model=static", "codegen-units=1", "strip=debuginfo"] {
        command.arg(format!("-C{option}"));
    }
    command.arg(root).arg("-o").arg(output);
    Ok(command)
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status().map_err(|error| format!("can't start {command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{status} from {command:?}").into()) }
}

/// The value of a variable that cargo sets for every build script.
fn required(variable: &str) -> Result<OsString, Box<dyn Error>> {
    env::var_os(variable).ok_or_else(|| format!("{variable} is not set: this program is for cargo to run").into())
}

fn concat(prefix: &str, value: impl Into<OsString>) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(value.into());
    text
}
