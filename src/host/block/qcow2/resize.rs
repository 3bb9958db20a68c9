//! Images that become longer or shorter.
//!
//! As in QEMU, what is added reads as zeroes although the backing file has something there, and an image of version 2 with
//! snapshots keeps its length, as these do not know their own. Unlike there, one with snapshots is never made shorter: imago gives
//! up clusters that it takes to be the image's alone.

use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;

use devices::backend::block::BlockError;
use imago::format::PreallocateMode;

use super::header::MOST_L1;
use super::{Node, Qcow2};

impl Qcow2 {
    /// Makes the image longer or shorter.
    ///
    /// # Errors
    /// It can't be: says why and what to do. Or the host fails; the image has its old length then.
    pub(super) fn set_len(&self, len: u64) -> Result<(), BlockError> {
        let Some(order) = &self.order else { return Err(BlockError::ReadOnly) };
        let before = self.len();
        self.check_len(len)?;
        if len < before {
            // The rest of the last cluster stays in the file. It is not to appear again when the image grows.
            let end = len.next_multiple_of(self.cluster).min(before);
            self.write_zeroes(len, end - len, false)?;
        }
        let mut image = self.alone();
        if len < before {
            self.len.store(len, Ordering::Release);
            if let Err(error) = image.resize_shrink(len) {
                self.len.store(before, Ordering::Release);
                return Err(self.change_failed(error));
            }
        } else {
            let mode = if self.backing_len() > before { PreallocateMode::Zero } else { PreallocateMode::None };
            image.resize_grow(len, mode).map_err(|error| self.change_failed(error))?;
        }
        let flushed = image.flush().and_then(|()| order.confirm(&*self.file));
        flushed.map_err(|error| self.change_failed(error))?;
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    /// 0: there is no backing file.
    fn backing_len(&self) -> u64 {
        self.backing.as_ref().map_or(0, |backing| backing.len())
    }

    fn check_len(&self, len: u64) -> Result<(), BlockError> {
        let refuse = |why: String| Err(io::Error::new(ErrorKind::Unsupported, why).into());
        let most = MOST_L1 / 8 * (self.cluster / 8) * self.cluster;
        if len > most {
            return refuse(format!(
                "an image with clusters of {} bytes has {most} at most: 'qemu-img convert -o cluster_size=2M' makes one with larger \
                 clusters",
                self.cluster
            ));
        }
        let delete = "delete them with 'qemu-img snapshot -d NAME IMAGE' while no machine uses it";
        match (self.has_snapshots, self.version) {
            (true, 2) => refuse(format!("it is an image of version 2 with snapshots, which keeps its length: {delete}")),
            (true, _) if len < self.len() => {
                refuse(format!("it has snapshots, with which natoma makes no image shorter: {delete}"))
            }
            (_, 2) if len > self.len() && self.backing_len() > self.len() => refuse(
                "its backing file is longer, and version 2 has no clusters that hide it: 'qemu-img amend -o compat=1.1' makes it one \
                 of version 3"
                    .into(),
            ),
            _ => Ok(()),
        }
    }
}
