//! CD drives as their users handle them, whatever they are connected to.

use std::sync::Arc;

use devices::base::{Shared, SystemControl, SystemRequest, lock};
use devices::ide::{PiixIde, Place};
use devices::scsi::{CdDrive, TrayWatcher, UnitPlace};
use devices::virtio::VirtioPci;
use devices::virtio::scsi::VirtioScsi;

use super::disks;
use crate::config::MachineConfig;
use crate::host::block::engine::Bell;

/// A CD drive.
#[derive(Clone)]
pub struct CdBay {
    /// The drive of the host whose media it takes.
    pub drive: String,
    /// Where it is.
    pub at: Connector,
    /// What rings when requests of its media have ended.
    pub bell: Bell,
}

/// Where a CD drive is.
#[derive(Clone)]
pub enum Connector {
    /// At the IDE controller.
    Ide(Shared<PiixIde>, Place),
    /// At a SCSI host.
    Scsi(Shared<VirtioPci<VirtioScsi>>, UnitPlace),
}

impl CdBay {
    /// Does something to the drive by hand, while its controller is locked. `None`: it is not there.
    pub fn with<R>(&self, what: impl FnOnce(&mut CdDrive) -> R) -> Option<R> {
        match &self.at {
            Connector::Ide(controller, place) => lock(controller).with_cd(*place, what),
            Connector::Scsi(host, place) => lock(host).with_cd(*place, what),
        }
    }
}

/// Has the machine's users told of a tray that moves.
struct Tray {
    /// The number of its drive among those of the configuration.
    drive: u16,
    system: Arc<dyn SystemControl>,
}

impl TrayWatcher for Tray {
    fn tray_moved(&self, open: bool) {
        self.system.request(SystemRequest::TrayMoved { drive: self.drive, open });
    }
}

/// Who hears of the tray of a CD drive with the media of drive `id`.
pub(super) fn watcher(
    config: &MachineConfig,
    id: Option<&str>,
    system: &Arc<dyn SystemControl>,
) -> Arc<dyn TrayWatcher> {
    Arc::new(Tray { drive: disks::number(config, id), system: Arc::clone(system) })
}
