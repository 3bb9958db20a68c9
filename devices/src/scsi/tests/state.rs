//! Saved states, with commands under way.

use super::*;
use crate::scsi::TargetsState;

fn load(initiator: &mut Initiator, state: &TargetsState) -> Result<(), String> {
    let loaded = initiator.targets.check(state, 64, &initiator.dma).map_err(|error| error.to_string())?;
    initiator.targets.load(state.clone(), loaded);
    Ok(())
}

#[test]
fn commands_under_way_are_saved_and_made_again() {
    let mut initiator = Initiator::new();
    initiator.disk.hold(true);
    initiator.cd.hold(true);
    let mut list = vec![0, 0x26, 0, 0x20, 0, 0, 0, 0];
    list.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0]);
    list.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 8, 0, 0, 0, 0]);
    for (address, cdb, out, room) in [
        (DISK, &[0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0][..], &[][..], 512),
        (DISK, &[0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0], &list, 0),
        (DISK, &[0x41, 0, 0, 0, 0, 50, 0, 0, 2, 0], &block(5), 0),
        (DISK, &[0x2f, 0, 0, 0, 0, 9, 0, 0, 1, 0], &[], 0),
        (CD, &[0xbe, 0, 0, 0, 0, 10, 0, 0, 2, 0xf8, 0, 0], &[], 4704),
    ] {
        assert_eq!(initiator.start(address, cdb, out, room), Some(Reply::Pending));
    }
    let state = initiator.targets.save();
    let text = serde_json::to_string(&state).unwrap();
    let mut twin = Initiator::new();
    load(&mut twin, &serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(twin.targets.save(), state);
    assert_eq!(twin.targets.poll(), None);
    twin.targets.resume();
    let ends: Vec<_> = std::iter::from_fn(|| twin.targets.poll()).map(|end| (end.name, end.sense, end.moved)).collect();
    let mut names: Vec<_> = ends.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    assert_eq!(names, [3, 4, 5, 6, 7]);
    assert!(ends.iter().all(|(_, sense, _)| sense.is_none()), "{ends:?}");
    assert_eq!(twin.medium.contents()[50 * 512..52 * 512], block(5).repeat(2));
}

#[test]
fn impossible_states_are_refused() {
    let mut initiator = Initiator::new();
    initiator.disk.hold(true);
    initiator.start(DISK, &[0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0], &[], 512);
    let good = serde_json::to_value(initiator.targets.save()).unwrap();
    let mut twin = Initiator::new();
    for (pointer, value) in [
        ("/0/0/target", serde_json::json!(7)),
        ("/0/1/kind", serde_json::json!({"cd": null})),
        ("/0/1/tasks/0/0", serde_json::json!(99)),
        ("/0/1/tasks/0/1/jobs", serde_json::json!([])),
        ("/0/1/tasks/0/1/jobs/0/move/len", serde_json::json!(1024)),
        ("/0/1/tasks/0/1/jobs/0/move/offset", serde_json::json!(u64::MAX)),
        ("/0/1/tasks/0/1/jobs/0/move/operation", serde_json::json!("flush")),
        ("/0/1/tasks/0/1/data", serde_json::json!([[RAM as u64, 512]])),
        ("/0/1/tasks/0/1/moves", serde_json::json!(u64::MAX)),
        ("/0/1/requests/pending", serde_json::json!([])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}: {good}")) = value;
        let refused = match serde_json::from_value::<TargetsState>(bad) {
            Ok(state) => load(&mut twin, &state).is_err(),
            Err(_) => true,
        };
        assert!(refused, "{pointer}");
    }
}

/// VERIFY without data counts what it has read, too.
#[test]
fn progress_beyond_all_numbers_is_refused() {
    let mut initiator = Initiator::new();
    initiator.disk.hold(true);
    initiator.start(DISK, &[0x2f, 0, 0, 0, 0, 9, 0, 0, 1, 0], &[], 0);
    let mut state = serde_json::to_value(initiator.targets.save()).unwrap();
    let done = state.pointer_mut("/0/1/tasks/0/1/jobs/0/verify/done").unwrap();
    *done = u64::MAX.into();
    assert!(load(&mut Initiator::new(), &serde_json::from_value(state).unwrap()).is_err());
}
