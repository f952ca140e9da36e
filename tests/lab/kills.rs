//! Runs that are killed: the next one ends what they have left on the engine, and nothing else.
//!
//! `BACKSTOP_LAB_KILLS=20 cargo nextest run --test lab kills` kills as often as it says.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::lab::Lab;
use crate::support::noise;

#[test]
fn the_next_run_ends_what_a_killed_one_has_left_and_nothing_of_anybody_else() {
    let Some(lab) = Lab::start("kills in a backup") else { return };
    let kills = std::env::var("BACKSTOP_LAB_KILLS").map_or(4, |count| count.parse().unwrap());
    let vm = lab.noisy_vm("killed", 8);
    // What others do meanwhile, to other VMs.
    let foreign = lab.order("foreign-backup", &json!({"vm": "web01"}))["id"].clone();
    lab.order("foreign-transfer", &json!({"disk": "floating", "direction": "download"}));
    let before = lab.traces(false);
    let moments = noise(kills * 2, 4);
    for moment in moments.chunks(2) {
        lab.order("watch-transfers", &json!({}));
        let slow = json!({"method": "GET", "path": "^/images/", "count": 1000, "delay": 0.002});
        lab.order("fail-transfers", &slow);
        let args = ["backup", "vm", "killed", "--json", "--connections", "2"];
        let mut child = lab.command(&args).spawn().unwrap();
        let pause = u64::from(u16::from_le_bytes([moment[0], moment[1]])) % 3000;
        sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        lab.order("watch-transfers", &json!({"on": false}));
        let ran = lab.run(&["backup", "vm", "killed", "--json", "--wait", "1m"]);
        assert_eq!(ran.code, 0, "killed after {pause} ms: {ran:?}");
        lab.assert_stored(&vm);
        assert_eq!(lab.traces(false), before, "killed after {pause} ms");
        let changes = json!([{"offset": pause * 4096, "length": 4096, "pattern": 1 + pause % 250}]);
        lab.order("write", &json!({"disk": vm.disks[0], "changes": changes}));
    }
    let web = lab.vm("web01");
    let running = lab.state()["vms"][&web.id]["_backups"][foreign.as_str().unwrap()].clone();
    assert_eq!(running["phase"], "ready", "{running} of somebody else");
}
