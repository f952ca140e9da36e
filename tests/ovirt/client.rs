use std::net::TcpListener;
use std::time::{Duration, Instant};

use backstop::base::cancel::Cancel;
use backstop::base::secret::Secret;
use backstop::error::ErrorKind;
use backstop::ovirt::client::{ApiPath, Engine, EngineOptions, Patience};
use serde_json::{Value, json};

use crate::engine::{FakeEngine, PASSWORD, Reply};
use crate::{client, options, patience};

fn api() -> ApiPath {
    ApiPath::new(&[])
}

#[test]
fn a_session_logs_in_once_asks_as_the_engine_wants_and_logs_out() {
    let fake = FakeEngine::new().with_vm();
    let engine = client(&fake);
    for _ in 0..2 {
        let document: Value = engine.get(&api()).unwrap();
        assert_eq!(document["product_info"]["version"]["major"], "4");
    }
    drop(engine);
    let seen = fake.seen();
    let targets: Vec<_> = seen.iter().map(|seen| seen.target.as_str()).collect();
    let expected = [
        "/ovirt-engine/sso/oauth/token",
        "/ovirt-engine/api",
        "/ovirt-engine/api",
        "/ovirt-engine/services/sso-logout",
    ];
    assert_eq!(targets, expected);
    let headers = &seen[1].headers;
    for (name, value) in [
        ("accept", "application/json"),
        ("accept-language", "en-US"),
        ("version", "4"),
        ("correlation-id", "backstop-test"),
        ("authorization", "Bearer token-1"),
    ] {
        assert_eq!(headers[name], value);
    }
    assert_eq!(seen[3].body, "scope=ovirt-app-api&token=token-1");
}

#[test]
fn a_session_that_the_engine_forgot_is_begun_anew_once() {
    let fake = FakeEngine::new().with_vm();
    let engine = client(&fake);
    engine.log_in().unwrap();
    fake.once("", Reply::html(401));
    engine.get::<Value>(&api()).unwrap();
    let logins = || fake.seen().iter().filter(|seen| seen.target.contains("/sso/oauth/")).count();
    assert_eq!(logins(), 2);
    fake.once("", Reply::html(401));
    fake.once("", Reply::html(401));
    assert_eq!(engine.get::<Value>(&api()).unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(logins(), 3);
}

#[test]
fn a_wrong_password_is_refused_once_and_told_without_it() {
    let fake = FakeEngine::new();
    let wrong = EngineOptions { password: Secret::from("canary-wrong"), ..options(&fake.url()) };
    let error = Engine::new(wrong).unwrap().log_in().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.chain().contains("Cannot authenticate user 'backup@internal'"), "{error:?}");
    assert!(!error.chain().contains("canary"), "{error:?}");
    assert_eq!(fake.seen().len(), 1);
}

#[test]
fn failures_that_may_pass_are_tried_again_with_an_end() {
    let fake = FakeEngine::new().with_vm();
    let engine = client(&fake);
    let busy =
        json!({"reason": "Operation Failed", "detail": "[Related operation is in progress.]"});
    for reply in [Reply::html(502), Reply::html(503), Reply::json(409, &busy), Reply::html(500)] {
        fake.once("", reply);
    }
    engine.get::<Value>(&api()).unwrap();
    assert_eq!(fake.count(""), 5);
    fake.set("", Reply::html(503));
    let error = engine.get::<Value>(&api()).unwrap_err();
    assert_eq!((error.kind(), fake.count("")), (ErrorKind::Remote, 10));
    assert_eq!(error.to_string(), "the engine answered 503 in /ovirt-engine/api");
}

#[test]
fn failures_that_stay_are_not_tried_again() {
    let fake = FakeEngine::new();
    let engine = client(&fake);
    for (status, kind) in [(400, ErrorKind::Remote), (403, ErrorKind::Denied)] {
        let before = fake.count("/vms");
        let fault = json!({"reason": "Operation Failed", "detail": "[No.]"});
        fake.set("/vms", Reply::json(status, &fault));
        let error = engine.get::<Value>(&ApiPath::new(&["vms"])).unwrap_err();
        assert_eq!((error.kind(), fake.count("/vms") - before), (kind, 1));
        assert!(error.to_string().contains("Operation Failed: No."), "{error}");
    }
    assert!(engine.find::<Value>(&ApiPath::new(&["vms", "gone"])).unwrap().is_none());
}

#[test]
fn an_answer_that_is_no_json_is_told_without_its_content() {
    let fake = FakeEngine::new();
    let engine = client(&fake);
    fake.set("", Reply::html(200));
    let error = engine.get::<Value>(&api()).unwrap_err();
    assert!(error.to_string().contains("\"text/html\" where JSON was expected"), "{error}");
    fake.set("", json!({"product_info": "canary-secret"}));
    let error = engine.get::<backstop::ovirt::wire::Api>(&api()).unwrap_err();
    assert!(!error.chain().contains("canary"), "{error:?}");
}

#[test]
fn a_redirect_is_not_followed() {
    let fake = FakeEngine::new();
    fake.refuse_login(Reply::html(302));
    let error = client(&fake).log_in().unwrap_err();
    assert!(error.to_string().contains("a redirect"), "{error}");
    assert_eq!(fake.seen().len(), 1);
}

/// A port on which nobody ever answers.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn an_engine_that_says_nothing_is_given_up() {
    let (_listener, url) = silent();
    let request = Duration::from_millis(200);
    let patience = Patience { request, tries: 2, ..patience() };
    let began = Instant::now();
    let engine = Engine::new(EngineOptions { patience, ..options(&url) }).unwrap();
    let error = engine.get::<Value>(&api()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(!error.chain().contains(PASSWORD));
}

#[test]
fn a_run_that_is_to_end_does_not_wait_for_another_try() {
    let fake = FakeEngine::new().with_vm();
    fake.set("", Reply::html(503));
    let cancel = Cancel::default();
    let hour = Duration::from_secs(3600);
    let patience = Patience { first_pause: hour, longest_pause: hour, ..patience() };
    let engine = EngineOptions { patience, cancel: cancel.clone(), ..options(&fake.url()) };
    let engine = Engine::new(engine).unwrap();
    cancel.request();
    assert_eq!(engine.get::<Value>(&api()).unwrap_err().kind(), ErrorKind::Cancelled);
}
