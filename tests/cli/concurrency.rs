use crate::support::{Lab, MIB, noise};

#[test]
fn two_vms_are_backed_up_at_once() {
    let lab = Lab::new();
    let mut web = lab.start_stream("web", &[]);
    web.feed(&noise(2 * MIB, 1));
    let mut mail = lab.start_stream("mail", &[]);
    mail.feed(&noise(2 * MIB, 2));
    let image = lab.file("db.raw", &noise(MIB, 3));
    lab.json(["backup", "image", "--vm", "db", &image]);
    mail.finish().expect(0);
    web.finish().expect(0);
    assert_eq!(lab.point_count(), 3);
}

#[test]
fn a_vm_that_is_being_backed_up_is_busy() {
    let lab = Lab::new();
    let mut first = lab.start_stream("web", &[]);
    first.feed(&noise(MIB, 1));
    let image = lab.file("web.raw", &noise(MIB, 3));
    let second = lab.run(["backup", "image", "--vm", "web", "--json", &image]).expect(5);
    let error = &second.json()["error"];
    assert_eq!((error["kind"].as_str(), error["exit_code"].as_u64()), (Some("busy"), Some(5)));
    assert!(second.stderr.contains("another backup of VM \"web\" is running"), "{second:?}");
    first.finish().expect(0);
    lab.run(["backup", "image", "--vm", "web", &image]).expect(0);
}
