//! Requests that change something: what is sent again, and what is known afterwards.

use backstop::base::cancel::Cancel;
use backstop::error::{Error, ErrorKind};
use backstop::ovirt::client::{ApiPath, Engine, EngineOptions, Patience, Unmade};
use serde_json::{Value, json};

use crate::engine::{FakeEngine, Reply};
use crate::{client, options, patience};

fn path() -> ApiPath {
    ApiPath::new(&["disks"])
}

fn create(engine: &Engine) -> Result<Value, Unmade> {
    engine.create(&path(), &json!({"name": "new"}))
}

fn fault(status: u16) -> Reply {
    Reply::json(status, &json!({"reason": "Operation Failed", "detail": "[No.]"}))
}

#[test]
fn an_object_is_created_with_the_token_and_as_json() {
    let fake = FakeEngine::new();
    fake.set("/disks", Reply::json(201, &json!({"id": "D"})));
    let engine = client(&fake);
    assert_eq!(create(&engine).unwrap()["id"], "D");
    let seen = fake.seen().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.body.as_str()), ("POST", r#"{"name":"new"}"#));
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.headers["authorization"], "Bearer token-1");
}

#[test]
fn a_request_that_was_certainly_not_carried_out_is_sent_again() {
    let fake = FakeEngine::new();
    fake.set("/disks", Reply::json(202, &json!({"id": "D"})));
    for reply in [fault(409), Reply::html(401), Reply::html(429)] {
        fake.once("/disks", reply);
    }
    assert!(create(&client(&fake)).is_ok());
    assert_eq!(fake.count("/disks"), 4);
}

#[test]
fn a_request_that_may_have_been_carried_out_is_not_sent_again() {
    let fake = FakeEngine::new();
    for reply in [fault(500), Reply::html(502), Reply::html(201)] {
        let before = fake.count("/disks");
        fake.once("/disks", reply);
        assert!(matches!(create(&client(&fake)), Err(Unmade::Unknown(_))));
        assert_eq!(fake.count("/disks") - before, 1);
    }
}

#[test]
fn a_refusal_is_told_with_its_status_and_text() {
    let fake = FakeEngine::new();
    fake.set("/disks", fault(400));
    let unmade = create(&client(&fake)).unwrap_err();
    assert!(unmade.is_status(400) && !unmade.is_status(409));
    assert!(unmade.error().to_string().contains("Operation Failed: No."));
    fake.set("/disks", fault(409));
    let before = fake.count("/disks");
    let unmade = create(&client(&fake)).unwrap_err();
    assert_eq!(Error::from(unmade).kind(), ErrorKind::Busy);
    assert_eq!(fake.count("/disks") - before, 5);
}

#[test]
fn an_engine_that_takes_no_connections_has_changed_nothing() {
    let url = {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", closed.local_addr().unwrap())
    };
    let patience = Patience { tries: 2, ..patience() };
    let engine = Engine::new(EngineOptions { patience, ..options(&url) }).unwrap();
    assert!(matches!(create(&engine), Err(Unmade::Refused { status: None, .. })));
}

#[test]
fn what_is_the_same_twice_is_sent_until_it_is_carried_out() {
    let fake = FakeEngine::new();
    let finalize = ApiPath::new(&["imagetransfers", "T", "finalize"]);
    fake.set("/imagetransfers/T/finalize", json!({"status": "complete"}));
    fake.set("/disks/D", json!({"status": "complete"}));
    fake.once("/imagetransfers/T/finalize", Reply::html(502));
    fake.once("/disks/D", fault(500));
    let engine = client(&fake);
    engine.act(&finalize).unwrap();
    assert_eq!(fake.count("/imagetransfers/T/finalize"), 2);
    assert_eq!(fake.seen().pop().unwrap().body, "{}");
    assert!(engine.delete(&ApiPath::new(&["disks", "D"])).unwrap());
    assert!(!engine.delete(&ApiPath::new(&["disks", "gone"])).unwrap());
    assert_eq!(fake.seen().pop().unwrap().method, "DELETE");
}

#[test]
fn what_has_to_be_taken_back_is_done_after_the_end_of_the_run_was_asked_for() {
    let fake = FakeEngine::new();
    fake.set("/disks/D", json!({}));
    fake.once("/disks/D", fault(409));
    let cancel = Cancel::default();
    let engine = Engine::new(EngineOptions { cancel: cancel.clone(), ..options(&fake.url()) });
    let engine = engine.unwrap();
    cancel.request();
    let path = ApiPath::new(&["disks", "D"]);
    let unmade = engine.delete(&path).unwrap_err();
    assert_eq!(unmade.error().kind(), ErrorKind::Cancelled);
    fake.once("/disks/D", fault(409));
    let firm = engine.with_cancel(Cancel::default());
    drop(engine);
    assert!(firm.delete(&path).unwrap());
    assert_eq!(fake.seen().iter().filter(|seen| seen.target.contains("sso-logout")).count(), 0);
}
