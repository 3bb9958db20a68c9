//! The beginning of a connection: which export it is about, and what that can do.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail, ensure};

const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OLDSTYLE_MAGIC: u64 = 0x0000_4202_8186_1253;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// Flags of the handshake; the client's have the same numbers.
const FIXED_NEWSTYLE: u16 = 1 << 0;
const NO_ZEROES: u16 = 1 << 1;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_GO: u32 = 7;

const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERROR: u32 = 1 << 31;
const ERR_UNSUP: u32 = REP_ERROR + 1;
const ERR_POLICY: u32 = REP_ERROR + 2;
const ERR_TLS_REQD: u32 = REP_ERROR + 5;
const ERR_UNKNOWN: u32 = REP_ERROR + 6;

const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// The longest reply to an option that is read, and the most of them.
const LONGEST_REPLY: u32 = 64 << 10;
const MOST_REPLIES: usize = 64;
/// The longest name of an export.
const LONGEST_NAME: usize = 4096;
/// Bytes of zeroes that follow an export in the oldest form.
const ZEROES: usize = 124;

/// What an export can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    /// Bytes.
    pub len: u64,
    /// Transmission flags.
    pub flags: u16,
}

impl Export {
    const READ_ONLY: u16 = 1 << 1;
    const FLUSH: u16 = 1 << 2;
    const FUA: u16 = 1 << 3;
    const TRIM: u16 = 1 << 5;
    const WRITE_ZEROES: u16 = 1 << 6;

    pub(super) fn read_only(self) -> bool {
        self.flags & Self::READ_ONLY != 0
    }

    pub(super) fn has_flush(self) -> bool {
        self.flags & Self::FLUSH != 0
    }

    pub(super) fn has_fua(self) -> bool {
        self.flags & Self::FUA != 0
    }

    pub(super) fn has_trim(self) -> bool {
        self.flags & Self::TRIM != 0
    }

    pub(super) fn has_write_zeroes(self) -> bool {
        self.flags & Self::WRITE_ZEROES != 0
    }
}

/// Greets a server and asks for an export. What the server says is read from `answers`, what it is told goes to `requests`.
///
/// # Errors
/// It is no server that natoma can talk to, or it refuses: says why.
pub fn negotiate(mut answers: impl Read, mut requests: impl Write, export: &str) -> Result<Export> {
    let (answers, requests) = (&mut answers, &mut requests);
    ensure!(export.len() <= LONGEST_NAME, "the name of the export is longer than {LONGEST_NAME} bytes");
    let greeting = "the server does not greet as an NBD server";
    ensure!(u64_from(answers).context(greeting)? == NBD_MAGIC, greeting);
    match u64_from(answers)? {
        OPTION_MAGIC => {}
        OLDSTYLE_MAGIC => bail!("the server speaks the oldstyle protocol, which natoma does not: use a newer one"),
        _ => bail!(greeting),
    }
    let flags = u16_from(answers)?;
    ensure!(
        flags & FIXED_NEWSTYLE != 0,
        "the server speaks the unfixed newstyle protocol, which natoma does not: use a newer one"
    );
    let flags = flags & (FIXED_NEWSTYLE | NO_ZEROES);
    requests.write_all(&u32::from(flags).to_be_bytes())?;

    // The name, and one more thing to be told.
    let mut wish = Vec::new();
    wish.extend_from_slice(&(export.len() as u32).to_be_bytes());
    wish.extend_from_slice(export.as_bytes());
    wish.extend_from_slice(&1_u16.to_be_bytes());
    wish.extend_from_slice(&INFO_BLOCK_SIZE.to_be_bytes());
    send_option(requests, OPT_GO, &wish)?;
    match answer_to_go(answers, requests)? {
        Some(export) => Ok(export),
        None => by_name(answers, requests, export, flags),
    }
}

/// The answers to `GO`. `None`: the server does not know it.
fn answer_to_go(answers: &mut impl Read, requests: &mut impl Write) -> Result<Option<Export>> {
    let mut found = None;
    for _ in 0..MOST_REPLIES {
        ensure!(u64_from(answers)? == REPLY_MAGIC, "the server's answer makes no sense");
        ensure!(u32_from(answers)? == OPT_GO, "the server answers what it was not asked");
        let (kind, len) = (u32_from(answers)?, u32_from(answers)?);
        ensure!(len <= LONGEST_REPLY, "the server's answer has {len} bytes: it makes no sense");
        let mut data = vec![0; len as usize];
        answers.read_exact(&mut data)?;
        match kind {
            REP_ACK => return found.context("the server tells nothing of the export").map(Some),
            REP_INFO => found = information(&data)?.or(found),
            ERR_UNSUP => return Ok(None),
            error if error & REP_ERROR != 0 => {
                send_option(requests, OPT_ABORT, &[])?;
                bail!(refusal(error, &String::from_utf8_lossy(&data)))
            }
            _ => bail!("the server's answer makes no sense"),
        }
    }
    bail!("the server does not come to an end with its answers")
}

/// What is told of the export.
fn information(data: &[u8]) -> Result<Option<Export>> {
    let Some((kind, data)) = data.split_first_chunk() else { bail!("the server's answer is too short") };
    match (u16::from_be_bytes(*kind), data) {
        (INFO_EXPORT, data) => {
            let Some((len, &[high, low])) = data.split_first_chunk() else {
                bail!("the server's answer has a wrong length")
            };
            export(u64::from_be_bytes(*len), u16::from_be_bytes([high, low])).map(Some)
        }
        (INFO_BLOCK_SIZE, data) => {
            let Some((smallest, _)) = data.split_first_chunk() else { bail!("the server's answer is too short") };
            let smallest = u32::from_be_bytes(*smallest);
            ensure!(
                smallest <= 512,
                "the server takes blocks of {smallest} bytes only, and a guest has sectors of 512: have it take smaller ones"
            );
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// Asks in the oldest way, which knows no refusal.
fn by_name(answers: &mut impl Read, requests: &mut impl Write, name: &str, flags: u16) -> Result<Export> {
    send_option(requests, OPT_EXPORT_NAME, name.as_bytes())?;
    let len = u64_from(answers).context("the server has no such export")?;
    let found = export(len, u16_from(answers)?)?;
    if flags & NO_ZEROES == 0 {
        answers.read_exact(&mut [0; ZEROES])?;
    }
    Ok(found)
}

fn export(len: u64, flags: u16) -> Result<Export> {
    ensure!(i64::try_from(len).is_ok(), "the export claims to have {len} bytes");
    // Media have whole sectors.
    Ok(Export { len: len & !511, flags })
}

fn refusal(error: u32, text: &str) -> String {
    let reason = match error {
        ERR_UNKNOWN => "the server has no such export: 'qemu-img info' or 'nbdinfo --list' show what it has",
        ERR_TLS_REQD => {
            "the server wants encryption (TLS), which natoma does not have: use a socket of this host, or a tunnel"
        }
        ERR_POLICY => "the server does not allow it",
        _ => "the server refuses",
    };
    if text.is_empty() { format!("{reason} (error {:#x})", error & !REP_ERROR) } else { format!("{reason} ({text})") }
}

fn send_option(stream: &mut impl Write, option: u32, data: &[u8]) -> io::Result<()> {
    let mut message = Vec::with_capacity(16 + data.len());
    message.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
    message.extend_from_slice(&option.to_be_bytes());
    message.extend_from_slice(&(data.len() as u32).to_be_bytes());
    message.extend_from_slice(data);
    stream.write_all(&message)
}

pub(super) fn u16_from(stream: &mut impl Read) -> io::Result<u16> {
    let mut bytes = [0; 2];
    stream.read_exact(&mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

pub(super) fn u32_from(stream: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

pub(super) fn u64_from(stream: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}
