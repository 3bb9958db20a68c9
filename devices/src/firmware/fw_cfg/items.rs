//! What fw_cfg holds: items by number and files by name.

use std::collections::BTreeMap;

use super::registers::{ARCH_LOCAL, DIRECTORY_ENTRY_LEN, FIRST_FILE, ITEM, NAME_LEN, key};

/// Bytes that do not change: a vector, a static array, a mapped file.
type Fixed = Box<dyn AsRef<[u8]> + Send + Sync>;
/// Makes the contents of files that belong together, in the order in which they were added.
pub(super) type Produce = Box<dyn FnMut() -> Vec<Vec<u8>> + Send>;
/// Is told the contents of a file after each write.
pub(super) type Written = Box<dyn FnMut(&[u8]) + Send>;

/// Why a file can't be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// No name, or one with a zero in it.
    #[error("{0:?} is not a name for a file of the firmware")]
    BadName(String),
    /// The directory has no room for the name.
    #[error("the name \"{name}\" has {} bytes: the firmware's directory has room for {max}", .name.len(), max = NAME_LEN - 1)]
    LongName {
        /// The name.
        name: String,
    },
    /// There is such a file.
    #[error("the firmware has a file \"{0}\" already")]
    Duplicate(String),
    /// All slots are taken.
    #[error("no room for the file \"{name}\": the firmware's directory holds {slots} files")]
    Full {
        /// The name.
        name: String,
        /// Places in the directory.
        slots: u16,
    },
    /// Sizes have 32 bits.
    #[error("the contents of \"{name}\" have {len} bytes: a file of the firmware has less than 4 GiB")]
    Long {
        /// The name.
        name: String,
        /// Its length in bytes.
        len: usize,
    },
}

/// What a file contains.
pub(super) enum Contents {
    /// The same at all times.
    Fixed(Fixed),
    /// Made when the guest selects one of the files of a group for the first time after a reset, as what its producer
    /// makes in place `part`.
    Produced { len: u32, group: usize, part: usize, made: Option<Vec<u8>> },
    /// The guest may write it, without changing its length. A reset brings back `initial`.
    Writable { initial: Vec<u8>, now: Vec<u8>, written: Written },
}

impl Contents {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Fixed(bytes) => (**bytes).as_ref(),
            Self::Produced { made, .. } => made.as_deref().unwrap_or_default(),
            Self::Writable { now, .. } => now,
        }
    }

    /// Length as the directory tells it; that of [`Self::bytes`] once the file has been selected.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Produced { len, .. } => *len as usize,
            Self::Fixed(_) | Self::Writable { .. } => self.bytes().len(),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Fixed(_) => {}
            Self::Produced { made, .. } => *made = None,
            Self::Writable { initial, now, written } => {
                if now != initial {
                    now.clone_from(initial);
                    written(now);
                }
            }
        }
    }

    /// What a saved state has to hold of it; `None`: nothing.
    pub(super) fn changing(&self) -> Option<&[u8]> {
        match self {
            Self::Fixed(_) => None,
            Self::Produced { made, .. } => made.as_deref(),
            Self::Writable { now, .. } => Some(now),
        }
    }

    /// Takes what [`Self::changing`] gave; of a length that has been checked.
    fn restore(&mut self, bytes: Option<&[u8]>) {
        match (self, bytes) {
            (Self::Produced { made, .. }, bytes) => *made = bytes.map(<[u8]>::to_vec),
            (Self::Writable { now, written, .. }, Some(bytes)) => {
                now.clear();
                now.extend_from_slice(bytes);
                written(now);
            }
            (Self::Writable { .. } | Self::Fixed(_), _) => {}
        }
    }
}

/// A file.
pub(super) struct File {
    pub(super) name: String,
    pub(super) contents: Contents,
}

/// All items.
pub(super) struct Items {
    /// By selector, without files.
    numbered: BTreeMap<u16, Fixed>,
    /// Sorted by name.
    files: Vec<File>,
    /// By group.
    producers: Vec<Produce>,
    slots: u16,
    /// The directory as the guest reads it.
    directory: Vec<u8>,
}

/// What a selector stands for.
enum Place {
    Numbered(u16),
    File(usize),
    Directory,
}

impl Items {
    pub(super) fn new(slots: u16) -> Self {
        let mut items =
            Self { numbered: BTreeMap::new(), files: Vec::new(), producers: Vec::new(), slots, directory: Vec::new() };
        items.write_directory();
        items
    }

    pub(super) fn set(&mut self, key: u16, contents: Fixed) {
        self.numbered.insert(key & (ARCH_LOCAL | ITEM), contents);
    }

    pub(super) fn add(&mut self, name: &str, contents: Contents) -> Result<(), FileError> {
        if name.is_empty() || name.contains('\0') {
            return Err(FileError::BadName(name.into()));
        }
        if name.len() >= NAME_LEN {
            return Err(FileError::LongName { name: name.into() });
        }
        if u32::try_from(contents.len()).is_err() {
            return Err(FileError::Long { name: name.into(), len: contents.len() });
        }
        let place = match self.files.binary_search_by(|file| file.name.as_str().cmp(name)) {
            Ok(_) => return Err(FileError::Duplicate(name.into())),
            Err(place) => place,
        };
        if self.files.len() >= usize::from(self.slots) {
            return Err(FileError::Full { name: name.into(), slots: self.slots });
        }
        self.files.insert(place, File { name: name.into(), contents });
        self.write_directory();
        Ok(())
    }

    /// Adds files, each with its length, whose contents are made together.
    pub(super) fn add_produced(&mut self, files: &[(&str, u32)], produce: Produce) -> Result<(), FileError> {
        let group = self.producers.len();
        self.producers.push(produce);
        let mut files = files.iter().enumerate();
        files.try_for_each(|(part, (name, len))| {
            self.add(name, Contents::Produced { len: *len, group, part, made: None })
        })
    }

    fn write_directory(&mut self) {
        self.directory.clear();
        self.directory.extend_from_slice(&(self.files.len() as u32).to_be_bytes());
        for (selector, file) in (FIRST_FILE..).zip(&self.files) {
            let start = self.directory.len();
            self.directory.extend_from_slice(&(file.contents.len() as u32).to_be_bytes());
            self.directory.extend_from_slice(&selector.to_be_bytes());
            self.directory.extend_from_slice(&[0; 2]);
            self.directory.extend_from_slice(file.name.as_bytes());
            self.directory.resize(start + DIRECTORY_ENTRY_LEN, 0);
        }
    }

    /// Whether a selector can stand for an item at all.
    pub(super) fn in_range(&self, selector: u16) -> bool {
        selector & ITEM < FIRST_FILE + self.slots
    }

    fn place(&self, selector: u16) -> Option<Place> {
        if !self.in_range(selector) {
            return None;
        }
        let index = selector & ITEM;
        if selector & ARCH_LOCAL == 0 {
            if index == key::FILE_DIRECTORY {
                return Some(Place::Directory);
            }
            if let Some(file) = index.checked_sub(FIRST_FILE) {
                return Some(Place::File(file.into()));
            }
        }
        Some(Place::Numbered(index | selector & ARCH_LOCAL))
    }

    /// Makes the contents of the file that is selected, and of those that belong to it.
    pub(super) fn prepare(&mut self, selector: u16) {
        let Some(Place::File(file)) = self.place(selector) else { return };
        let Some(Contents::Produced { group: wanted, made: None, .. }) =
            self.files.get(file).map(|file| &file.contents)
        else {
            return;
        };
        let wanted = *wanted;
        let Some(produce) = self.producers.get_mut(wanted) else { return };
        let mut parts = produce();
        for file in &mut self.files {
            if let Contents::Produced { len, group, part, made } = &mut file.contents
                && *group == wanted
            {
                let mut bytes = parts.get_mut(*part).map(std::mem::take).unwrap_or_default();
                // The guest knows the length from the directory.
                bytes.resize(*len as usize, 0);
                *made = Some(bytes);
            }
        }
    }

    /// The bytes of an item; none if there is no such item.
    pub(super) fn bytes(&self, selector: u16) -> &[u8] {
        match self.place(selector) {
            Some(Place::Directory) => &self.directory,
            Some(Place::Numbered(key)) => self.numbered.get(&key).map(|bytes| (**bytes).as_ref()).unwrap_or_default(),
            Some(Place::File(file)) => self.files.get(file).map(|file| file.contents.bytes()).unwrap_or_default(),
            None => &[],
        }
    }

    /// Length that the item has once it is selected.
    pub(super) fn len(&self, selector: u16) -> usize {
        match self.place(selector) {
            Some(Place::File(file)) => self.files.get(file).map(|file| file.contents.len()).unwrap_or_default(),
            _ => self.bytes(selector).len(),
        }
    }

    /// The contents of a file that the guest may write, and who is told of a change; `None` for anything else.
    pub(super) fn writable(&mut self, selector: u16) -> Option<(&mut Vec<u8>, &mut Written)> {
        let Place::File(file) = self.place(selector)? else { return None };
        match &mut self.files.get_mut(file)?.contents {
            Contents::Writable { now, written, .. } => Some((now, written)),
            Contents::Fixed(_) | Contents::Produced { .. } => None,
        }
    }

    pub(super) fn reset(&mut self) {
        self.files.iter_mut().for_each(|file| file.contents.reset());
    }

    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    pub(super) fn find(&self, name: &str) -> Option<&Contents> {
        let place = self.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok()?;
        self.files.get(place).map(|file| &file.contents)
    }

    /// Takes the contents of files that change; `saved` has been checked.
    pub(super) fn restore(&mut self, saved: &BTreeMap<String, Vec<u8>>) {
        for File { name, contents } in &mut self.files {
            contents.restore(saved.get(name).map(Vec::as_slice));
        }
    }
}
