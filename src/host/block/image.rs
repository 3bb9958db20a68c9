//! Images by their format, with the images that they are made over.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::blkdebug::{self, Blkdebug};
use super::file::{self, Opened};
use super::node::Node;
use super::qcow2::Qcow2;
use super::qcow2::header::{BackingFile, Header};
use super::raw::{Guard, RawImage};
use super::vmdk::Vmdk;
use super::{device, lock, probe};
use crate::config::{Access, Image, ImageFormat};
use crate::tell::tell;

/// The longest chain of images. A longer one goes round in circles.
const LONGEST_CHAIN: usize = 200;

/// Opens the image in a file, and the images it is made over. `access` is what may be done to the file.
///
/// # Errors
/// It can't be used: says why and what to do.
pub(super) fn open(image: &Image, access: Access) -> Result<Arc<dyn Node>> {
    open_in_chain(image, access, 1)
}

/// Opens the image that is the `depth`-th of its chain.
fn open_in_chain(image: &Image, access: Access, depth: usize) -> Result<Arc<dyn Node>> {
    let opened = file::open(&image.path, access, image.cache.direct)?;
    if opened.is_device && !opened.read_only && device::is_whole_disk(&opened.file)? {
        tell(format_args!(
            "warning: {}: the guest may write to a whole disk of this host, its partition table and boot loader included; \
             snapshot=on keeps the disk as it is",
            image.path.display()
        ));
    }
    lock::lock(&opened.file, opened.read_only, image.locking)?;
    let format = match image.format {
        Some(format) => format,
        None => probe::format(&opened.file, opened.len)?.map_or(Ok(ImageFormat::Raw), known)?,
    };
    let flush = !image.cache.no_flush;
    match format {
        ImageFormat::Raw => {
            opened.check_sectors()?;
            let guard = if image.format.is_none() && !opened.read_only {
                tell(format_args!(
                    "warning: {}: the image seems to be raw, but a guest could make it look like another format: \
                     writes of that kind are refused. Add format=raw to lift this",
                    image.path.display()
                ));
                Guard::On
            } else {
                Guard::Off
            };
            with_rules(image, RawImage::new(opened, guard, flush))
        }
        ImageFormat::Qcow2 => open_qcow2(image, opened, depth),
        ImageFormat::Vmdk => {
            ensure!(
                access == Access::ReadOnly || opened.read_only || access == Access::Auto,
                "natoma reads vmdk images and does not write them: add snapshot=on or readonly=on, or convert it with 'qemu-img \
                 convert -O qcow2'"
            );
            let directory = directory(&image.path);
            let part = |path: &Path| {
                let part =
                    Image { path: path.to_owned(), format: Some(ImageFormat::Raw), rules: None, ..image.clone() };
                open_in_chain(&part, Access::ReadOnly, depth + 1)
            };
            Ok(Arc::new(Vmdk::open(&RawImage::new(opened, Guard::Off, flush), directory, part)?))
        }
    }
}

/// The file of an image, under the rules by which it fails.
fn with_rules(image: &Image, file: RawImage) -> Result<Arc<dyn Node>> {
    Ok(match &image.rules {
        None => Arc::new(file),
        Some(rules) => Arc::new(Blkdebug::new(Arc::new(file), blkdebug::read_rules(rules)?)),
    })
}

fn open_qcow2(image: &Image, opened: Opened, depth: usize) -> Result<Arc<dyn Node>> {
    let read_only = opened.read_only;
    let file = with_rules(image, RawImage::new(opened, Guard::Off, !image.cache.no_flush))?;
    let header = Header::load(&*file)?;
    let backing = header.backing.as_ref().map(|backing| {
        let opened = open_backing(image, backing, depth + 1);
        opened.with_context(|| format!("its backing file {} can't be used", backing.name))
    });
    Ok(Arc::new(Qcow2::open(file, &header, backing.transpose()?, read_only)?))
}

fn open_backing(image: &Image, backing: &BackingFile, depth: usize) -> Result<Arc<dyn Node>> {
    ensure!(depth <= LONGEST_CHAIN, "it would be the {depth}th image of its chain: does one refer to itself?");
    let format = match backing.format.as_deref() {
        None => None,
        Some(name) => Some(known(name)?),
    };
    let name = backing.name.strip_prefix("file:").unwrap_or(&backing.name);
    let is_file = name.find(':').is_none_or(|colon| name[..colon].contains('/'));
    ensure!(is_file, "natoma opens only files as backing files: 'qemu-img rebase -u -b FILE -F FORMAT' names another");
    let path = directory(&image.path).join(name);
    let backing = Image { path, format, access: Access::ReadOnly, snapshot: false, rules: None, ..image.clone() };
    open_in_chain(&backing, Access::ReadOnly, depth)
}

/// What names in an image are relative to.
fn directory(image: &Path) -> &Path {
    image.parent().filter(|parent| *parent != OsStr::new("")).unwrap_or(Path::new("."))
}

/// A format that natoma reads.
fn known(name: &str) -> Result<ImageFormat> {
    Ok(match name {
        "raw" | "file" | "host_device" => ImageFormat::Raw,
        "qcow2" => ImageFormat::Qcow2,
        "vmdk" => ImageFormat::Vmdk,
        "luks" => bail!(
            "it is encrypted with LUKS, which natoma does not have: decrypt it with 'qemu-img convert --object \
             secret,id=key,file=PASSWORD_FILE --image-opts driver=luks,key-secret=key,file.filename=IMAGE -O raw DECRYPTED', \
             or add format=raw if the guest is to see the file as it is"
        ),
        other => bail!(
            "it is in the {other} format, which natoma does not read: convert it with 'qemu-img convert -O qcow2', or add \
             format=raw if the guest is to see the file as it is"
        ),
    })
}
