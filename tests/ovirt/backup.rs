//! Backups, checkpoints and transfers as the engine sees them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backstop::base::id::{RepoId, SessionId};
use backstop::error::{Error, ErrorKind, Result};
use backstop::ovirt::backup::begin::{NotBegun, Wanted, begin, demand_ready, ready};
use backstop::ovirt::backup::checkpoints;
use backstop::ovirt::backup::end::{Ended, finalize};
use backstop::ovirt::backup::tag::Tag;
use backstop::ovirt::client::Engine;
use backstop::ovirt::ticket::{self, Ticket, TicketLog, TicketRequest};
use backstop::ovirt::wire::{BackupMode, Direction};
use serde_json::{Value, json};

use crate::client;
use crate::engine::{FakeEngine, Reply, VM};

const ID: &str = "11111111-2222-4333-8444-555555555555";

fn tag() -> Tag {
    Tag { repo: RepoId::from_bytes([1; 16]), session: SessionId::from_bytes([2; 16]) }
}

fn wanted<'a>(id: Option<&'a str>, from: Option<&'a str>) -> Wanted<'a> {
    Wanted {
        vm: VM,
        disks: &["d1", "d2"],
        tag: tag(),
        id,
        from,
        needs_consistency: false,
        without_snapshot: false,
    }
}

fn backups() -> String {
    format!("/vms/{VM}/backups")
}

fn one() -> String {
    format!("/vms/{VM}/backups/{ID}")
}

fn backup(phase: &str) -> Value {
    json!({"id": ID, "phase": phase, "description": tag().to_string()})
}

fn refusal(status: u16, detail: &str) -> Reply {
    let detail = format!("[Cannot backup VM. {detail}]");
    Reply::json(status, &json!({"reason": "Operation Failed", "detail": detail}))
}

fn posts(fake: &FakeEngine, path: &str) -> usize {
    let is_it = |one: &&crate::engine::Seen| {
        one.method == "POST" && one.target.split('?').next().is_some_and(|at| at.ends_with(path))
    };
    fake.seen().iter().filter(is_it).count()
}

#[test]
fn a_backup_begins_with_its_tag_its_id_and_only_the_ids_of_disks() {
    let fake = FakeEngine::new();
    fake.set(&backups(), Reply::json(201, &backup("initializing")));
    let full = Wanted { needs_consistency: true, ..wanted(Some(ID), Some("CP")) };
    assert_eq!(begin(&client(&fake), &full).unwrap(), ID);
    let seen = fake.seen().into_iter().rfind(|seen| seen.target.contains("backups")).unwrap();
    assert!(seen.target.ends_with("/backups?require_consistency=true"), "{}", seen.target);
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    let expected = json!({"id": ID, "from_checkpoint_id": "CP", "description": tag().to_string(),
        "disks": {"disk": [{"id": "d1"}, {"id": "d2"}]}});
    assert_eq!(body, expected);
}

#[test]
fn a_backup_whose_answer_was_lost_is_found_by_its_id_and_not_begun_twice() {
    let fake = FakeEngine::new();
    fake.set(&backups(), Reply::html(502));
    fake.set(&one(), backup("initializing"));
    assert_eq!(begin(&client(&fake), &wanted(Some(ID), None)).unwrap(), ID);
    assert_eq!(posts(&fake, "/backups"), 1);
}

#[test]
fn on_engines_that_choose_ids_a_lost_backup_is_found_by_its_tag() {
    let fake = FakeEngine::new();
    let foreign = json!({"id": "foreign", "phase": "ready", "description": "another product"});
    fake.set(&backups(), json!({"backup": [foreign, backup("starting")]}));
    fake.once(&backups(), Reply::html(502));
    assert_eq!(begin(&client(&fake), &wanted(None, None)).unwrap(), ID);
    assert_eq!(posts(&fake, "/backups"), 1);
}

#[test]
fn a_backup_that_certainly_did_not_begin_is_asked_for_again() {
    let fake = FakeEngine::new();
    fake.set(&backups(), Reply::json(201, &backup("initializing")));
    fake.once(&backups(), Reply::html(502));
    assert_eq!(begin(&client(&fake), &wanted(Some(ID), None)).unwrap(), ID);
    assert_eq!((posts(&fake, "/backups"), fake.count(&one())), (2, 1));
}

#[test]
fn a_checkpoint_that_the_engine_refuses_asks_for_a_full_backup_and_nothing_else_does() {
    let fake = FakeEngine::new();
    fake.set(&backups(), refusal(400, "Checkpoint ID CP doesn't exist."));
    let engine = client(&fake);
    match begin(&engine, &wanted(Some(ID), Some("CP"))) {
        Err(NotBegun::Unfit { reason, is_full_needed: true }) => {
            assert!(reason.contains("Checkpoint ID CP doesn't exist."), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(begin(&engine, &wanted(Some(ID), None)), Err(NotBegun::Failed(_))));
    fake.set(&backups(), refusal(409, "The VM is during a backup operation."));
    match begin(&engine, &wanted(Some(ID), Some("CP"))) {
        Err(NotBegun::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Busy),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backup_without_a_phase_is_still_on_its_way() {
    let fake = FakeEngine::new();
    let mut ready_now = backup("ready");
    ready_now["to_checkpoint_id"] = json!("CP2");
    fake.set(&one(), ready_now);
    fake.once(&one(), json!({"id": ID}));
    let disk = |id: &str, mode: &str| json!({"id": id, "backup_mode": mode});
    let disks = [disk("d1", "incremental"), disk("d2", "full")];
    fake.set(&format!("{}/disks", one()), json!({"disk": disks}));
    let found = ready(&client(&fake), &wanted(Some(ID), None), ID).unwrap();
    assert_eq!((found.checkpoint.as_deref(), found.is_hybrid), (Some("CP2"), false));
    assert_eq!(found.modes["d1"], BackupMode::Incremental);
    assert_eq!(found.modes["d2"], BackupMode::Full);
}

#[test]
fn a_disk_that_the_engine_left_out_without_a_word_fails_the_backup() {
    let fake = FakeEngine::new();
    fake.set(&one(), backup("ready"));
    fake.set(&format!("{}/disks", one()), json!({"disk": [{"id": "d1"}]}));
    match ready(&client(&fake), &wanted(Some(ID), None), ID) {
        Err(NotBegun::Failed(error)) => assert!(error.to_string().ends_with("backup: d2")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn why_a_backup_could_not_begin_is_told_in_the_words_of_the_engine() {
    let fake = FakeEngine::new();
    fake.set(&one(), backup("failed"));
    let event = |code: &str, text: String| json!({"code": code, "description": text});
    let events = [
        event("10791", format!("Backup {ID}: Full backup is now needed.")),
        event("10790", format!("Backup {ID} started.")),
        event("10791", "Backup of somebody else".to_owned()),
    ];
    fake.set("/events", json!({"event": events}));
    let engine = client(&fake);
    match ready(&engine, &wanted(Some(ID), Some("CP")), ID) {
        Err(NotBegun::Unfit { reason, is_full_needed: true }) => {
            assert!(reason.contains("Full backup is now needed."), "{reason}");
            assert!(!reason.contains("started") && !reason.contains("somebody"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    // Engines before 4.4.7 forget a backup that failed, and events may not be shown.
    fake.set(&one(), Reply::missing());
    fake.set("/events", Reply::missing());
    let unfit = ready(&engine, &wanted(Some(ID), Some("CP")), ID);
    assert!(matches!(unfit, Err(NotBegun::Unfit { is_full_needed: false, .. })));
}

#[test]
fn the_end_of_a_backup_is_waited_for_whatever_the_engine_answers() {
    let fake = FakeEngine::new();
    let finalize_path = format!("{}/finalize", one());
    let engine = client(&fake);
    assert_eq!(finalize(&engine, VM, ID).unwrap(), Ended::Forgotten);
    fake.set(&finalize_path, json!({"status": "complete"}));
    for (phase, ended) in [("succeeded", Ended::Succeeded), ("failed", Ended::Failed)] {
        fake.set(&one(), backup(phase));
        fake.once(&one(), backup("finalizing"));
        assert_eq!(finalize(&engine, VM, ID).unwrap(), ended);
    }
    fake.set(&finalize_path, refusal(400, "no need to stop the backup again"));
    assert_eq!(finalize(&engine, VM, ID).unwrap(), Ended::Failed);
    fake.set(&finalize_path, json!({"status": "complete"}));
    fake.once(&finalize_path, refusal(409, "There is an active image transfer for VM backup"));
    assert_eq!(finalize(&engine, VM, ID).unwrap(), Ended::Failed);
}

fn checkpoint(id: &str, description: String, parent_id: Option<&str>) -> Value {
    json!({"id": id, "description": description, "parent_id": parent_id, "state": "created"})
}

#[test]
fn only_own_checkpoints_are_deleted_and_the_newest_stays() {
    let fake = FakeEngine::new();
    let path = format!("/vms/{VM}/checkpoints");
    let other = Tag { repo: RepoId::from_bytes([9; 16]), ..tag() };
    let all = [
        checkpoint("new", tag().to_string(), Some("theirs")),
        checkpoint("theirs", "another product".to_owned(), Some("old")),
        checkpoint("elsewhere", other.to_string(), None),
        checkpoint("old", tag().to_string(), None),
    ];
    fake.set(&path, json!({"checkpoint": all}));
    fake.set(&format!("{path}/old"), json!({}));
    let engine = client(&fake);
    assert_eq!(checkpoints::remove_own_but(&engine, VM, tag().repo, Some("new")).unwrap(), 1);
    let deleted: Vec<_> = fake.seen().into_iter().filter(|one| one.method == "DELETE").collect();
    assert_eq!(deleted.len(), 1);
    assert!(deleted[0].target.ends_with("/checkpoints/old"));
    fake.set(&path, Reply::missing());
    assert!(checkpoints::list(&engine, VM).unwrap().is_empty());
}

#[test]
fn a_backup_that_the_engine_ended_while_it_was_read_is_not_believed() {
    let fake = FakeEngine::new();
    let engine = client(&fake);
    for good in [backup("ready"), json!({"id": ID})] {
        fake.set(&one(), good);
        demand_ready(&engine, VM, ID).unwrap();
    }
    for phase in ["failed", "finalizing", "succeeded", "another"] {
        fake.set(&one(), backup(phase));
        let error = demand_ready(&engine, VM, ID).unwrap_err();
        assert!(error.to_string().contains(&format!("phase {phase}")), "{error}");
    }
    fake.set(&one(), Reply::missing());
    assert!(demand_ready(&engine, VM, ID).is_err());
}

#[test]
fn of_a_session_that_failed_only_its_own_checkpoint_goes() {
    let fake = FakeEngine::new();
    let path = format!("/vms/{VM}/checkpoints");
    let earlier = Tag { session: SessionId::from_bytes([7; 16]), ..tag() };
    let all = [
        checkpoint("base", earlier.to_string(), None),
        checkpoint("failed", tag().to_string(), Some("base")),
    ];
    fake.set(&path, json!({"checkpoint": all}));
    fake.set(&format!("{path}/failed"), json!({}));
    checkpoints::remove_of_session(&client(&fake), VM, tag()).unwrap();
    let deleted: Vec<_> = fake.seen().into_iter().filter(|one| one.method == "DELETE").collect();
    assert_eq!(deleted.len(), 1);
    assert!(deleted[0].target.ends_with("/checkpoints/failed"));
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl TicketLog for Log {
    fn opened(&self, transfer: &str, disk: &str) -> Result<()> {
        self.0.lock().unwrap().push(format!("+{transfer} {disk}"));
        match transfer {
            "unwritten" => Err(Error::new(ErrorKind::Full, "the medium is full")),
            _ => Ok(()),
        }
    }

    fn closed(&self, transfer: &str) -> Result<()> {
        self.0.lock().unwrap().push(format!("-{transfer}"));
        Ok(())
    }
}

fn request(direction: Direction) -> TicketRequest {
    TicketRequest {
        disk: "d1".to_owned(),
        direction,
        backup: Some(ID.to_owned()),
        idle: Duration::from_secs(90),
        has_policy: true,
        is_alone: true,
    }
}

fn transfer(id: &str, phase: &str) -> Value {
    json!({"id": id, "phase": phase, "direction": "download", "image": {"id": "d1"},
        "transfer_url": "https://host1:54322/images/K", "host": {"id": "H"}})
}

fn open(engine: &Engine, log: &Arc<Log>) -> Result<Ticket> {
    let log = Arc::<Log>::clone(log);
    Ticket::open(engine, request(Direction::Download), log).map(|(ticket, _)| ticket)
}

#[test]
fn a_transfer_is_written_down_opened_and_finished() {
    let fake = FakeEngine::new();
    fake.once("/imagetransfers", Reply::json(201, &transfer("T", "initializing")));
    fake.set("/imagetransfers/T", transfer("T", "transferring"));
    fake.once("/imagetransfers/T", transfer("T", "initializing"));
    fake.set("/imagetransfers/T/finalize", json!({}));
    let (engine, log) = (client(&fake), Arc::new(Log::default()));
    let ticket = open(&engine, &log).unwrap();
    let body = fake.seen().into_iter().find(|seen| seen.target.ends_with("/imagetransfers"));
    let body: Value = serde_json::from_str(&body.unwrap().body).unwrap();
    let expected = json!({"backup": {"id": ID}, "disk": {"id": "d1"}, "direction": "download",
        "format": "raw", "inactivity_timeout": 90, "timeout_policy": "cancel"});
    assert_eq!(body, expected);
    fake.set("/imagetransfers/T", transfer("T", "finished_success"));
    fake.once("/imagetransfers/T", transfer("T", "finalizing_success"));
    assert_eq!(ticket.finish().unwrap(), ticket::Ended::Succeeded);
    assert_eq!(*log.0.lock().unwrap(), ["+T d1", "-T"]);
}

#[test]
fn a_transfer_that_the_system_paused_goes_on() {
    let fake = FakeEngine::new();
    fake.once("/imagetransfers", Reply::json(201, &transfer("T", "transferring")));
    fake.set("/imagetransfers/T", transfer("T", "transferring"));
    fake.set("/imagetransfers/T/resume", json!({}));
    let ticket = open(&client(&fake), &Arc::default()).unwrap();
    for phase in ["paused_system", "resuming"] {
        fake.once("/imagetransfers/T", transfer("T", phase));
    }
    assert!(ticket.renew().unwrap().direct.is_some());
    assert_eq!(posts(&fake, "/resume"), 1);
    fake.once("/imagetransfers/T", transfer("T", "paused_user"));
    assert!(ticket.renew().unwrap_err().to_string().contains("somebody has paused"));
}

#[test]
fn a_download_that_the_engine_ended_is_begun_anew_a_few_times() {
    let fake = FakeEngine::new();
    fake.once("/imagetransfers", Reply::json(201, &transfer("T1", "transferring")));
    fake.set("/imagetransfers/T1", transfer("T1", "transferring"));
    let (engine, log) = (client(&fake), Arc::new(Log::default()));
    let ticket = open(&engine, &log).unwrap();
    fake.set("/imagetransfers/T1", transfer("T1", "finished_failure"));
    fake.set("/imagetransfers/T2", transfer("T2", "transferring"));
    fake.once("/imagetransfers", Reply::json(201, &transfer("T2", "initializing")));
    ticket.renew().unwrap();
    assert_eq!(*log.0.lock().unwrap(), ["+T1 d1", "-T1", "+T2 d1"]);
    fake.set("/imagetransfers/T2", transfer("T2", "finished_failure"));
    fake.set("/imagetransfers", Reply::json(201, &transfer("T2", "initializing")));
    assert!(ticket.renew().unwrap_err().to_string().contains("finished_failure"));
    assert!(posts(&fake, "/imagetransfers") < 10);
}

#[test]
fn a_transfer_that_cannot_be_written_down_is_ended() {
    let fake = FakeEngine::new();
    fake.once("/imagetransfers", Reply::json(201, &transfer("unwritten", "initializing")));
    fake.set("/imagetransfers/unwritten", transfer("unwritten", "finished_failure"));
    for phase in ["initializing", "cancelled_user"] {
        fake.once("/imagetransfers/unwritten", transfer("unwritten", phase));
    }
    fake.set("/imagetransfers/unwritten/cancel", json!({}));
    let error = open(&client(&fake), &Arc::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(posts(&fake, "/cancel"), 1);
}

#[test]
fn a_transfer_whose_answer_was_lost_is_ended_and_those_of_other_disks_are_not() {
    let fake = FakeEngine::new();
    let other = json!({"id": "other", "phase": "transferring", "direction": "download",
        "image": {"id": "d2"}});
    let list = [other, transfer("over", "finished_failure"), transfer("T", "transferring")];
    fake.once("/imagetransfers", Reply::html(502));
    fake.set("/imagetransfers", json!({"image_transfer": list}));
    fake.set("/imagetransfers/T", transfer("T", "finished_failure"));
    fake.once("/imagetransfers/T", transfer("T", "transferring"));
    fake.set("/imagetransfers/T/cancel", json!({}));
    assert!(open(&client(&fake), &Arc::default()).is_err());
    assert_eq!((posts(&fake, "/cancel"), posts(&fake, "/T/cancel")), (1, 1));
}

#[test]
fn a_transfer_that_fails_before_it_is_open_is_not_begun_anew() {
    let fake = FakeEngine::new();
    fake.set("/imagetransfers", Reply::json(201, &transfer("T", "initializing")));
    fake.set("/imagetransfers/T", transfer("T", "finished_failure"));
    let log = Arc::default();
    let error = open(&client(&fake), &log).err().unwrap();
    assert!(error.to_string().contains("finished_failure"), "{error}");
    assert_eq!(*log.0.lock().unwrap(), ["+T d1", "-T"]);
}
