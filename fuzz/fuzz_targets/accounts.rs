//! Files of an image and of another tool that name users and settings: never a panic, and what is
//! found is found again.
//! Input: three parts separated by NUL: `/etc/passwd`, `/etc/group` or `buildah.json`, a user.
#![no_main]

use builder::passwd::Accounts;
use builder::state::BuilderState;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |&byte| byte == 0);
    let (passwd, group) = (parts.next().unwrap_or(&[]), parts.next().unwrap_or(&[]));
    let spec = String::from_utf8_lossy(parts.next().unwrap_or(&[]));
    if let Ok(accounts) = Accounts::parse(passwd, group) {
        if let Ok(user) = accounts.run_user(&spec) {
            let again = accounts.run_user(&spec).expect("found again");
            assert_eq!(user, again);
            assert_eq!(user.groups.first(), Some(&user.gid));
        }
        let _ = accounts.owner(&spec);
    }
    if let Ok(mut state) = BuilderState::parse(group, "container") {
        if let Ok(config) = state.image_config() {
            state.set_image_config(&config).expect("encodes");
        }
        let bytes = state.to_bytes().expect("encodes");
        BuilderState::parse(&bytes, "container").expect("parses again");
    }
});
