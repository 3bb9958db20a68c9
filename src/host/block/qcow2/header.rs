//! The header of a qcow2 image, checked before anything goes by it.
//!
//! Follows "qcow2 - QEMU's image format" (docs/interop/qcow2.txt of QEMU's documentation) with the limits that QEMU sets. imago
//! checks part of this again; what it does not look at (encryption, sizes that don't fit each other, extensions of version 2)
//! is refused here, and so is what natoma can't do, each with what to do about it.

use anyhow::{Context, Result, bail, ensure};

use super::super::node::{Node, read_bytes};

/// Bytes of version 2's header.
const V2_LEN: u64 = 72;
/// Bytes that a header of version 3 has at least.
const V3_LEN: u64 = 104;
/// Offset of the byte that tells how clusters are compressed, if the header is long enough.
const COMPRESSION_TYPE: usize = 104;
/// The largest L1 table, and the largest refcount table, in bytes.
pub(super) const MOST_L1: u64 = 32 << 20;
const MOST_REFTABLE: u64 = 8 << 20;
const MOST_SNAPSHOTS: u32 = 65536;
const LONGEST_NAME: u32 = 1023;

/// Incompatible features.
pub(super) const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
/// Where the byte with the first eight of them is in the header.
pub(super) const FEATURES_BYTE: u64 = 79;
/// Those of them that speak against writing only.
pub(super) const FEATURES_AGAINST_WRITING: u8 = (DIRTY | CORRUPT) as u8;

/// Header extensions.
const END: u32 = 0;
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// Compatible feature: reference counts may be out of date while it is open.
const LAZY_REFCOUNTS: u64 = 1;

/// What an image is made over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingFile {
    /// Its name as it is in the header: relative to the image, or a protocol's.
    pub name: String,
    /// Its format; `None`: to be found out from its contents.
    pub format: Option<String>,
}

/// What the header says.
#[derive(Debug)]
pub struct Header {
    /// Bits of an offset within a cluster.
    pub(super) cluster_bits: u32,
    /// Length of the medium in bytes.
    pub(super) len: u64,
    pub(super) l1_entries: u64,
    pub(super) l1_offset: u64,
    pub(super) reftable_offset: u64,
    /// Bytes.
    pub(super) reftable_len: u64,
    /// A reference count has two to the power of this bits.
    pub(super) refcount_order: u32,
    /// Version of the format, 2 or 3.
    pub version: u32,
    /// Reference counts may be out of date while it is open.
    pub lazy_refcounts: bool,
    /// It is marked as damaged.
    pub corrupt: bool,
    /// It was not closed by who wrote it last: its reference counts are not up to date.
    pub dirty: bool,
    /// Number of internal snapshots, and offset of their table.
    pub(super) snapshots: u32,
    pub(super) snapshots_offset: u64,
    /// What the image is made over.
    pub backing: Option<BackingFile>,
    /// What keeps it from being written, with what to do.
    pub(super) only_readable: Option<&'static str>,
}

impl Header {
    /// Reads the header of an image and checks it.
    ///
    /// # Errors
    /// It is not one that natoma can use: says why and what to do.
    pub fn load(file: &dyn Node) -> Result<Self> {
        ensure!(file.len() >= V2_LEN, "it is too short for a qcow2 header");
        let mut start = vec![0; usize::try_from(file.len().min(V3_LEN + 8)).unwrap_or(0)];
        read_bytes(file, 0, &mut start).context("its header can't be read")?;
        // What a short file lacks is zero, as everywhere at the end of an image.
        start.resize(COMPRESSION_TYPE + 8, 0);
        let u32_at = |at: usize| u32::from_be_bytes(start[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_be_bytes(start[at..at + 8].try_into().expect("eight bytes"));

        ensure!(start.starts_with(b"QFI\xfb"), "it is no qcow2 image: give its real format, or leave format= out");
        let version = u32_at(4);
        ensure!(
            version == 2 || version == 3,
            "it is a qcow image of version {version}, and natoma knows 2 and 3: convert it with 'qemu-img convert -O qcow2'"
        );
        let cluster_bits = u32_at(20);
        ensure!((9..=21).contains(&cluster_bits), "its clusters have 2^{cluster_bits} bytes: the header is damaged");
        let cluster = 1_u64 << cluster_bits;
        refuse_encryption(u32_at(32))?;

        let (features, refcount_order, header_len) =
            if version == 2 { (0, 4, V2_LEN) } else { (u64_at(72), u32_at(96), u64::from(u32_at(100))) };
        if version == 3 {
            let fits = (V3_LEN..=cluster).contains(&header_len) && header_len.is_multiple_of(8);
            ensure!(fits, "its header claims to have {header_len} bytes: it is damaged");
        }
        let compression = if header_len > COMPRESSION_TYPE as u64 { start[COMPRESSION_TYPE] } else { 0 };
        let only_readable = check_features(features, compression)?;
        ensure!(refcount_order <= 6, "its reference counts have 2^{refcount_order} bits: the header is damaged");

        let snapshots = u32_at(60);
        let header = Self {
            cluster_bits,
            len: u64_at(24),
            l1_entries: u64::from(u32_at(36)),
            l1_offset: u64_at(40),
            reftable_offset: u64_at(48),
            reftable_len: u64::from(u32_at(56)) * cluster,
            refcount_order,
            version,
            lazy_refcounts: version == 3 && u64_at(80) & LAZY_REFCOUNTS != 0,
            corrupt: features & CORRUPT != 0,
            dirty: features & DIRTY != 0,
            snapshots,
            snapshots_offset: u64_at(64),
            backing: backing_file(file, u64_at(8), u32_at(16), header_len, cluster)?,
            only_readable,
        };
        header.check_tables(file.len())?;
        ensure!(snapshots <= MOST_SNAPSHOTS, "it claims to have {snapshots} snapshots: the header is damaged");
        ensure!(
            snapshots == 0 || header.snapshots_offset.is_multiple_of(cluster),
            "its table of snapshots begins within a cluster: the header is damaged"
        );
        Ok(header)
    }

    /// Bits of a reference count.
    pub fn refcount_bits(&self) -> u32 {
        1 << self.refcount_order
    }

    /// Bytes of a cluster.
    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn check_tables(&self, file_len: u64) -> Result<()> {
        let cluster = self.cluster();
        // A second-level table fills a cluster with entries of 8 bytes.
        let covered = u128::from(cluster) * u128::from(cluster / 8);
        let needed = u128::from(self.len).div_ceil(covered);
        ensure!(
            i64::try_from(self.len).is_ok() && u128::from(self.l1_entries) >= needed,
            "its table of {} entries does not cover the {} bytes of the medium: the header is damaged",
            self.l1_entries,
            self.len
        );
        let tables = [
            ("first-level table", self.l1_offset, self.l1_entries * 8, MOST_L1),
            ("refcount table", self.reftable_offset, self.reftable_len, MOST_REFTABLE),
        ];
        for (name, offset, len, most) in tables {
            ensure!(len <= most, "its {name} has {len} bytes, and {most} is the most: the header is damaged");
            ensure!(offset.is_multiple_of(cluster), "its {name} begins within a cluster: the header is damaged");
            let end =
                offset.checked_add(len).with_context(|| format!("its {name} has no end: the header is damaged"))?;
            ensure!(len == 0 || offset > 0, "its {name} is in the header: it is damaged");
            ensure!(
                end <= file_len.next_multiple_of(cluster),
                "its {name} ends at byte {end}, and the file has only {file_len}: it is cut off"
            );
        }
        ensure!(self.reftable_len > 0, "it has no refcount table: the header is damaged");
        Ok(())
    }
}

fn refuse_encryption(method: u32) -> Result<()> {
    match method {
        0 => Ok(()),
        1 => bail!(
            "it is encrypted by the method 'aes', which is broken and which natoma does not have: decrypt it with 'qemu-img \
             convert --object secret,id=key,file=PASSWORD_FILE --image-opts driver=qcow2,encrypt.format=aes,\
             encrypt.key-secret=key,file.filename=IMAGE -O qcow2 DECRYPTED'"
        ),
        2 => bail!(
            "it is encrypted with LUKS, which natoma does not have: decrypt it with 'qemu-img convert --object \
             secret,id=key,file=PASSWORD_FILE --image-opts driver=qcow2,encrypt.format=luks,encrypt.key-secret=key,\
             file.filename=IMAGE -O qcow2 DECRYPTED', and keep that on an encrypted disk of the host"
        ),
        other => bail!("it is encrypted by an unknown method, {other}"),
    }
}

/// Refuses incompatible features that natoma does not have. `Some`: the image can't be written.
fn check_features(features: u64, compression: u8) -> Result<Option<&'static str>> {
    if features & DATA_FILE != 0 {
        bail!("its data is in a file of its own: bring both together with 'qemu-img convert -O qcow2'");
    }
    if features & EXTENDED_L2 != 0 {
        bail!("it has subclusters (extended_l2): convert it with 'qemu-img convert -O qcow2 -o extended_l2=off'");
    }
    match (features & COMPRESSION != 0, compression) {
        (false, 0) => {}
        (true, 1) => bail!(
            "its clusters are compressed with zstd: convert it with 'qemu-img convert -O qcow2', with -c for zlib compression"
        ),
        _ => bail!("its clusters are compressed by an unknown method, {compression}: the header may be damaged"),
    }
    let unknown = features & !(DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2);
    ensure!(
        unknown == 0,
        "it uses features that natoma does not know (incompatible bits {unknown:#x}): convert it with 'qemu-img convert \
         -O qcow2 -o compat=1.1'"
    );
    Ok((features & CORRUPT != 0).then_some(
        "it is marked as damaged: repair it with 'qemu-img check -r all', after a copy; it can be read with readonly=on",
    ))
}

fn backing_file(file: &dyn Node, offset: u64, len: u32, extensions: u64, cluster: u64) -> Result<Option<BackingFile>> {
    if offset == 0 {
        return Ok(None);
    }
    let end = offset.checked_add(u64::from(len)).filter(|end| *end <= cluster.min(file.len()));
    let (Some(_), true) = (end, len <= LONGEST_NAME) else {
        bail!("the name of its backing file is not in the first cluster: the header is damaged");
    };
    if len == 0 {
        return Ok(None);
    }
    let mut name = vec![0; len as usize];
    read_bytes(file, offset, &mut name).context("the name of its backing file can't be read")?;
    let name = String::from_utf8(name).context("the name of its backing file is no UTF-8 text")?;
    ensure!(!name.contains('\0'), "the name of its backing file has a zero byte in it: the header is damaged");
    let format = backing_format(file, extensions, offset.min(cluster))?;
    Ok(Some(BackingFile { name, format }))
}

/// The format of the backing file, from the extensions between `at` and `end`.
fn backing_format(file: &dyn Node, mut at: u64, end: u64) -> Result<Option<String>> {
    while at + 8 <= end {
        let mut head = [0; 8];
        read_bytes(file, at, &mut head).context("its header can't be read")?;
        let [kind, len] = [0, 4].map(|at| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes")));
        at += 8;
        if kind == END {
            break;
        }
        ensure!(u64::from(len) <= end.saturating_sub(at), "an extension of its header is too long: it is damaged");
        if kind == BACKING_FORMAT {
            ensure!(len <= 16, "the name of its backing file's format has {len} bytes: the header is damaged");
            let mut name = vec![0; len as usize];
            read_bytes(file, at, &mut name).context("its header can't be read")?;
            return Ok(Some(String::from_utf8_lossy(&name).into_owned()));
        }
        at += u64::from(len).next_multiple_of(8);
    }
    Ok(None)
}
