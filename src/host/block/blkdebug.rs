//! `driver=blkdebug`: errors where a test wants them, by QEMU's rules.
//!
//! An `inject-error` rule wakes when its event happens while the filter is in its state (at once without an event), and makes
//! the next request fail that is of its kind and touches its sector: the next one only with `once`, all of them otherwise. A
//! `set-state` rule changes the state when its event happens. The events are those of an image format towards its file: `read_aio`,
//! `write_aio`, `flush_to_os` and `flush_to_disk`, as QEMU's raw format makes them; the ones inside its qcow2 have no counterpart.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use devices::backend::block::BlockError;
use devices::base::lock;
use nix::libc;
use serde::de::DeserializeOwned;
use vm_memory::VolatileSlice;

use super::filter::Filter;
use super::node::{Node, RawAccess, total_len};
use super::raw::host_error;
use crate::config::{BlkdebugConfig, BlkdebugEvent, BlkdebugRequest, InjectError, SetState};

const SECTOR: u64 = 512;

/// A node that fails when it is told to.
pub(super) struct Blkdebug {
    below: Arc<dyn Node>,
    config: BlkdebugConfig,
    state: Mutex<State>,
}

struct State {
    number: u64,
    /// Which of the rules are awake, and not used up.
    awake: Vec<bool>,
    used_up: Vec<bool>,
}

impl Blkdebug {
    pub fn new(below: Arc<dyn Node>, config: BlkdebugConfig) -> Self {
        let awake = config.inject_error.iter().map(|rule| rule.event == BlkdebugEvent::None).collect();
        let used_up = vec![false; config.inject_error.len()];
        // QEMU's states begin with 1; 0 stands for any.
        Self { below, state: Mutex::new(State { number: 1, awake, used_up }), config }
    }

    /// An event happens, then a request is made of the node below.
    fn request(
        &self,
        events: &[BlkdebugEvent],
        kind: BlkdebugRequest,
        offset: u64,
        len: u64,
    ) -> Result<(), BlockError> {
        let mut state = lock(&self.state);
        for event in events {
            let now = state.number;
            for (rule, awake) in self.config.inject_error.iter().zip(&mut state.awake) {
                *awake |= rule.event == *event && (rule.state == 0 || rule.state == now);
            }
            let next = self.config.set_state.iter().find(|rule| rule.event == *event && [0, now].contains(&rule.state));
            state.number = next.map_or(now, |rule| rule.new_state);
        }
        let applies =
            |at: &usize, rule: &InjectError| state.awake[*at] && !state.used_up[*at] && rule.applies(kind, offset, len);
        let Some((at, rule)) = self.config.inject_error.iter().enumerate().find(|(at, rule)| applies(at, rule)) else {
            return Ok(());
        };
        state.used_up[at] = rule.once;
        log::info!("blkdebug: {kind:?} of {len} bytes at {offset} fails with errno {}", rule.errno);
        Err(host_error(io::Error::from_raw_os_error(rule.errno)))
    }
}

/// Reads a file of rules, as QEMU's: sections `[inject-error]` and `[set-state]` with lines `key = "value"`.
///
/// # Errors
/// It can't be read, or there is something in it that natoma does not have: says in which line.
pub(super) fn read_rules(path: &Path) -> Result<BlkdebugConfig> {
    let rules = || format!("the rules in {}", path.display());
    let text = fs::read_to_string(path).with_context(rules)?;
    parse(&text).with_context(rules)
}

fn parse(text: &str) -> Result<BlkdebugConfig> {
    let mut config = BlkdebugConfig::default();
    let mut section = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let in_line = || format!("line {}: {line}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            section = Some(match line {
                "[inject-error]" => {
                    let rule = InjectError {
                        event: BlkdebugEvent::None,
                        state: 0,
                        iotype: None,
                        errno: libc::EIO,
                        sector: None,
                        once: false,
                    };
                    config.inject_error.push(rule);
                    Section::InjectError
                }
                "[set-state]" => {
                    config.set_state.push(SetState { event: BlkdebugEvent::None, state: 0, new_state: 0 });
                    Section::SetState
                }
                _ => bail!("{}: there are sections [inject-error] and [set-state]", in_line()),
            });
            continue;
        }
        let (key, value) = line.split_once('=').with_context(in_line)?;
        let (key, value) = (key.trim(), value.trim().trim_matches('"'));
        let number = || value.parse::<u64>().with_context(in_line);
        match (&section, config.inject_error.last_mut(), config.set_state.last_mut()) {
            (Some(Section::InjectError), Some(rule), _) => match key {
                "event" => rule.event = word(value).with_context(in_line)?,
                "iotype" => rule.iotype = Some(word(value).with_context(in_line)?),
                "state" => rule.state = number()?,
                "errno" => rule.errno = value.parse().with_context(in_line)?,
                "sector" if value == "-1" => rule.sector = None,
                "sector" => rule.sector = Some(number()?),
                "once" => rule.once = matches!(value, "on" | "yes" | "true"),
                // What else there is to wait for in QEMU is over at once here.
                "immediately" => {}
                _ => bail!("{}: natoma does not have this", in_line()),
            },
            (Some(Section::SetState), _, Some(rule)) => match key {
                "event" => rule.event = word(value).with_context(in_line)?,
                "state" => rule.state = number()?,
                "new_state" => rule.new_state = number()?,
                _ => bail!("{}: natoma does not have this", in_line()),
            },
            _ => bail!("{}: it is in no section", in_line()),
        }
    }
    Ok(config)
}

/// Which kind of rule lines are about.
enum Section {
    InjectError,
    SetState,
}

/// One of the words of an enumeration.
fn word<T: DeserializeOwned>(text: &str) -> Result<T> {
    Ok(serde_json::from_value(text.into())?)
}

impl InjectError {
    /// Whether such a request is one to fail.
    fn applies(&self, kind: BlkdebugRequest, offset: u64, len: u64) -> bool {
        let touched = self.sector.is_none_or(|sector| {
            let start = sector.saturating_mul(SECTOR);
            // A flush is of no sector.
            kind != BlkdebugRequest::Flush
                && start < offset.saturating_add(len)
                && offset < start.saturating_add(SECTOR)
        });
        touched && self.iotype.is_none_or(|wanted| wanted == kind)
    }
}

impl Filter for Blkdebug {
    fn below(&self) -> &Arc<dyn Node> {
        &self.below
    }

    /// All requests are looked at.
    fn raw(&self) -> Option<RawAccess<'_>> {
        None
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        self.request(&[BlkdebugEvent::ReadAio], BlkdebugRequest::Read, offset, total_len(to) as u64)?;
        self.below.read(offset, to)
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        self.request(&[BlkdebugEvent::WriteAio], BlkdebugRequest::Write, offset, total_len(from) as u64)?;
        if durable {
            self.request(&[BlkdebugEvent::FlushToOs, BlkdebugEvent::FlushToDisk], BlkdebugRequest::Flush, 0, 0)?;
        }
        self.below.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.request(&[BlkdebugEvent::FlushToOs, BlkdebugEvent::FlushToDisk], BlkdebugRequest::Flush, 0, 0)?;
        self.below.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.request(&[], BlkdebugRequest::Discard, offset, len)?;
        self.below.discard(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.request(&[], BlkdebugRequest::WriteZeroes, offset, len)?;
        self.below.write_zeroes(offset, len, may_unmap)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::super::node::{read_bytes, write_bytes};
    use super::*;

    fn rule(event: BlkdebugEvent) -> InjectError {
        InjectError { event, state: 0, iotype: None, errno: libc::EIO, sector: None, once: false }
    }

    fn filter(inject_error: Vec<InjectError>, set_state: Vec<SetState>) -> impl Node {
        Blkdebug::new(Arc::new(Memory::new(vec![1; 8192])), BlkdebugConfig { inject_error, set_state })
    }

    fn read(node: &impl Node, offset: u64) -> bool {
        read_bytes(node, offset, &mut [0; 1024]).is_ok()
    }

    #[test]
    fn a_rule_concerns_its_requests_its_sector_and_its_number_of_times() {
        let node = filter(
            vec![
                InjectError { sector: Some(3), once: true, ..rule(BlkdebugEvent::ReadAio) },
                InjectError { errno: libc::ENOSPC, ..rule(BlkdebugEvent::WriteAio) },
            ],
            vec![],
        );
        assert!(read(&node, 0), "another sector");
        assert!(!read(&node, 1024));
        assert!(read(&node, 1024), "once");
        node.flush().unwrap();
        assert!(matches!(write_bytes(&node, 0, &mut [0], false), Err(BlockError::NoSpace)));
        // Without once it goes on, and as it says nothing of their kind other requests fail too.
        assert!(matches!(write_bytes(&node, 0, &mut [0], false), Err(BlockError::NoSpace)));
        assert!(matches!(node.flush(), Err(BlockError::NoSpace)));
    }

    #[test]
    fn a_rule_with_a_state_waits_for_it() {
        let fails = InjectError {
            state: 2,
            once: true,
            iotype: Some(BlkdebugRequest::Flush),
            ..rule(BlkdebugEvent::FlushToDisk)
        };
        let node = filter(vec![fails], vec![SetState { event: BlkdebugEvent::WriteAio, state: 1, new_state: 2 }]);
        node.flush().unwrap();
        write_bytes(&node, 0, &mut [0], false).unwrap();
        assert!(node.flush().is_err());
        node.flush().unwrap();
        assert!(read(&node, 0));
    }

    #[test]
    fn rules_are_read_as_qemu_writes_them() {
        let text = "# a test\n[inject-error]\nevent = \"read_aio\"\nerrno = \"28\"\nonce = \"on\"\nsector = \"-1\"\nimmediately = \"off\"\n\n\
                    [set-state]\nevent = \"flush_to_disk\"\nstate = \"1\"\nnew_state = \"2\"\n[inject-error]\niotype = \"write-zeroes\"\nstate=2\n";
        let config = parse(text).unwrap();
        let first = InjectError { errno: libc::ENOSPC, once: true, ..rule(BlkdebugEvent::ReadAio) };
        let second = InjectError { state: 2, iotype: Some(BlkdebugRequest::WriteZeroes), ..rule(BlkdebugEvent::None) };
        assert_eq!(config.inject_error, [first, second]);
        assert_eq!(config.set_state, [SetState { event: BlkdebugEvent::FlushToDisk, state: 1, new_state: 2 }]);
        for (text, reason) in [
            ("event = \"read_aio\"", "line 1: event = \"read_aio\": it is in no section"),
            ("[suspend]", "line 1: [suspend]: there are sections"),
            ("[set-state]\nevent = \"l2_load\"", "line 2: event = \"l2_load\": unknown variant"),
            ("[inject-error]\nerrno = \"x\"", "line 2"),
            ("[inject-error]\ntag = \"x\"", "does not have this"),
        ] {
            let message = format!("{:#}", parse(text).unwrap_err());
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn a_rule_without_an_event_is_always_awake() {
        let node =
            filter(vec![InjectError { iotype: Some(BlkdebugRequest::Discard), ..rule(BlkdebugEvent::None) }], vec![]);
        assert!(read(&node, 0));
        assert!(node.discard(0, 512).is_err() && node.discard(0, 512).is_err());
        node.write_zeroes(0, 512, true).unwrap();
    }
}
