//! Keys in files: replaced, half written, gone, swapped by a symbolic link.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::{eventually, secrets};
use crate::{KeyFile, count, credentials, entries, fingerprint, is_logged, key, used};

#[tokio::test]
async fn a_key_that_is_replaced_in_its_file_is_used_within_seconds() {
    let file = KeyFile::holding(&format!("{}\n", secrets::PRIMARY_KEY));
    let world = file.world(|config| config);
    let token = world.bearer("alice");
    used(&world, &token, secrets::PRIMARY_KEY).await;
    world.upstream.accept(&key(3));
    file.write(&key(3));
    used(&world, &token, &key(3)).await;
    let entry = &entries(&world.service, "rotated")[0];
    assert_eq!((entry["key"].as_str(), entry["upstream"].as_str()), (Some(&*fingerprint(&key(3))), Some("openai")));
    assert_eq!(count(&world.service, "adopted").await, 1);
    let shown = credentials(&world.service).await;
    assert_eq!(shown["in_use"], fingerprint(&key(3)));
    assert_eq!(world.upstream.probes(), [key(3)], "a new key is tried once before it is used");
}

/// As Kubernetes mounts secrets: what the file's path leads over is swapped, and the file itself never changes.
#[tokio::test]
async fn a_mount_that_is_swapped_by_a_link_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    for (name, key) in [("..1", secrets::PRIMARY_KEY.to_owned()), ("..2", key(3))] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("key"), key).unwrap();
    }
    let data = folder.path().join("..data");
    symlink("..1", &data).unwrap();
    symlink("..data/key", folder.path().join("key")).unwrap();
    let reference = format!("file://{}", folder.path().join("key").display());
    let world = crate::support::World::with(|config| crate::references(config, &[&reference]));
    world.upstream.accept(&key(3));
    let token = world.bearer("alice");
    used(&world, &token, secrets::PRIMARY_KEY).await;
    symlink("..2", folder.path().join("..data_tmp")).unwrap();
    std::fs::rename(folder.path().join("..data_tmp"), &data).unwrap();
    used(&world, &token, &key(3)).await;
    assert!(is_logged(&world.service, "everybody on this machine may read this file"), "{}", world.service.stderr());
}

#[tokio::test]
async fn a_credential_of_the_systemd_unit_is_read_where_systemd_puts_it() {
    let file = KeyFile::holding(secrets::PRIMARY_KEY);
    let folder = file.folder.path().display().to_string();
    let world = crate::support::World::with(|config| {
        crate::references(config, &["file://$CREDENTIALS_DIRECTORY/key"]).env("CREDENTIALS_DIRECTORY", &folder)
    });
    used(&world, &world.bearer("alice"), secrets::PRIMARY_KEY).await;
    assert_eq!(credentials(&world.service).await["credentials"][0]["source"], "file://$CREDENTIALS_DIRECTORY/key");
    assert!(!is_logged(&world.service, "everybody on this machine may read this file"));
}

#[tokio::test]
async fn a_new_key_that_the_provider_refuses_is_not_used() {
    let file = KeyFile::holding(secrets::PRIMARY_KEY);
    let world = file.world(|config| config);
    let token = world.bearer("alice");
    file.write(&key(9));
    eventually("the key is tried", 5, async || (count(&world.service, "refused").await > 0).then_some(())).await;
    world.service.mint(&token).await.expect_minted();
    assert_eq!(world.upstream.last().bearer(), secrets::PRIMARY_KEY);
    let entry = &entries(&world.service, "new_key_refused")[0];
    assert_eq!(entry["cause"], "status 401, invalid_api_key");
    let shown = credentials(&world.service).await;
    assert_eq!(
        (&shown["in_use"], &shown["credentials"][0]["state"]),
        (&json!(fingerprint(secrets::PRIMARY_KEY)), &json!("in_use"))
    );
    let failure = shown["credentials"][0]["last_failure"]["cause"].as_str().unwrap().to_owned();
    assert!(failure.contains(&fingerprint(&key(9))) && failure.contains("invalid_api_key"), "{failure}");
    // The provider may come to know it a little later.
    world.upstream.accept(&key(9));
    used(&world, &token, &key(9)).await;
    assert_eq!(entries(&world.service, "new_key_refused").len(), 1, "a refusal is written down once");
}

#[tokio::test]
async fn what_cannot_be_a_key_is_never_sent() {
    let file = KeyFile::holding(secrets::PRIMARY_KEY);
    let world = file.world(|config| config);
    let token = world.bearer("alice");
    let bad = [
        "sk-admin-canary-permanent-key-7",
        "ek_canary-permanent-key-7",
        "sk-proj-canary permanent-key-7",
        "canary-permanent-key-7",
    ];
    for (i, text) in bad.iter().enumerate() {
        file.write(text);
        eventually("the value is looked at", 5, async || (entries(&world.service, "new_key_refused").len() > i).then_some(()))
            .await;
        world.service.mint(&token).await.expect_minted();
    }
    for (text, words) in [("", "is empty"), ("\u{1}", "cannot be"), (&"x".repeat(70_000), "larger than 64 KiB")] {
        file.write(text);
        let is_said = async || {
            let shown = credentials(&world.service).await;
            let cause = shown["credentials"][0]["last_failure"]["cause"].as_str().unwrap_or_default().to_owned();
            (cause.contains(words) || cause.contains("is not an OpenAI key")).then_some(())
        };
        eventually(words, 5, is_said).await;
    }
    world.service.mint(&token).await.expect_minted();
    assert_eq!(world.upstream.probes(), Vec::<String>::new());
    assert!(world.upstream.requests().iter().all(|request| request.bearer() == secrets::PRIMARY_KEY));
}

#[tokio::test]
async fn a_file_that_is_gone_leaves_its_key_in_use_until_it_is_back() {
    let file = KeyFile::holding(secrets::PRIMARY_KEY);
    let world = file.world(|config| config);
    let token = world.bearer("alice");
    std::fs::remove_file(file.path()).unwrap();
    eventually("the loss is noticed", 5, async || (count(&world.service, "unreadable").await > 0).then_some(())).await;
    world.service.mint(&token).await.expect_minted();
    world.service.call(reqwest::Method::GET, "/readyz").send().await.expect(200);
    world.upstream.accept(&key(3));
    file.write(&key(3));
    used(&world, &token, &key(3)).await;
    assert!(is_logged(&world.service, "the key can be read again"));
}

/// Whoever writes without a rename leaves half a key there for a while: it looks like one, and the provider would refuse it.
#[tokio::test]
async fn a_key_that_is_still_being_written_is_not_taken_for_one() {
    let file = KeyFile::holding(secrets::PRIMARY_KEY);
    let world = file.world(|config| config);
    let token = world.bearer("alice");
    for number in 10..16 {
        let whole = key(number);
        world.upstream.accept(&whole);
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        for end in [0, 12, 20, whole.len() - 1, whole.len()] {
            write(&whole[..end]);
            tokio::time::sleep(std::time::Duration::from_millis(7)).await;
            world.service.mint(&token).await.expect_minted();
        }
        used(&world, &token, &whole).await;
    }
    assert_eq!(entries(&world.service, "rotated").len(), 6);
}

#[tokio::test]
async fn while_the_provider_cannot_say_the_key_before_stays() {
    let file = KeyFile::holding(secrets::PRIMARY_KEY);
    let world = file.world(|config| config);
    let token = world.bearer("alice");
    world.upstream.answer_probes(crate::support::error(503, "server_error", "server_error"));
    world.upstream.accept(&key(3));
    file.write(&key(3));
    eventually("the key is tried", 5, async || (count(&world.service, "unclear").await > 0).then_some(())).await;
    world.service.mint(&token).await.expect_minted();
    assert_eq!(world.upstream.last().bearer(), secrets::PRIMARY_KEY);
    world.upstream.answer_probes(None);
    used(&world, &token, &key(3)).await;
}

/// The order in which careless people do it: the old key ends, then the new one is put there.
#[tokio::test]
async fn a_key_that_was_revoked_before_its_successor_is_seen_costs_no_mint() {
    let file = KeyFile::holding(secrets::PRIMARY_KEY);
    let world = file.world(|config| config);
    let token = world.bearer("alice");
    used(&world, &token, secrets::PRIMARY_KEY).await;
    world.upstream.accept(&key(3));
    file.write(&key(3));
    world.upstream.revoke(secrets::PRIMARY_KEY);
    world.service.mint(&token).await.expect_minted();
    assert_eq!(world.upstream.last().bearer(), key(3));
}

#[tokio::test]
async fn a_key_can_be_tried_with_a_mint_or_not_at_all() {
    for (verify, probes, mints) in [("mint", 0, 1), ("none", 0, 0)] {
        let file = KeyFile::holding(secrets::PRIMARY_KEY);
        let world = crate::support::World::with(|config| {
            let credential = format!(r#"{{ keys = ["{}"], verify = "{verify}" }}"#, file.reference());
            config.set("upstreams.openai.credential", &credential)
        });
        world.upstream.accept(&key(3));
        file.write(&key(3));
        eventually("the key is adopted", 5, async || (count(&world.service, "adopted").await == 1).then_some(())).await;
        assert_eq!((world.upstream.probes().len(), world.upstream.count()), (probes, mints), "{verify}");
        if mints == 1 {
            let body = world.upstream.last().json();
            assert_eq!((&body["expires_after"]["seconds"], &body["session"]["model"]), (&json!(60), &json!("gpt-realtime-2.1")));
        }
    }
}

#[tokio::test]
async fn an_old_key_and_one_of_a_user_are_warned_about() {
    let file = KeyFile::holding("sk-canary-permanent-key-of-a-user");
    let age = std::time::SystemTime::now() - std::time::Duration::from_hours(91 * 24);
    std::fs::File::options().write(true).open(file.path()).unwrap().set_modified(age).unwrap();
    let world = file.world(|config| config);
    eventually("its age is noticed", 5, async || is_logged(&world.service, "a permanent key is old").then_some(())).await;
    assert!(is_logged(&world.service, "a key of a user, not of a project"));
    let shown = credentials(&world.service).await;
    let seconds = shown["credentials"][0]["age_seconds"].as_u64().unwrap();
    assert!((91 * 86_400..92 * 86_400).contains(&seconds), "{shown}");
}

#[tokio::test]
async fn a_key_is_tried_with_a_mint_of_the_kind_that_its_profile_makes() {
    let file = KeyFile::holding(secrets::PRIMARY_KEY);
    let world = crate::support::World::with(|config| {
        let credential = format!(r#"{{ keys = ["{}"], verify = "mint" }}"#, file.reference());
        let session = r#"{ model = "gpt-realtime-translate" }"#;
        config
            .without("profiles.default")
            .other_profile("default", "translation", session)
            .set("upstreams.openai.credential", &credential)
    });
    world.upstream.accept(&key(3));
    file.write(&key(3));
    eventually("the key is adopted", 5, async || (count(&world.service, "adopted").await == 1).then_some(())).await;
    assert_eq!(world.upstream.last().target, "/v1/realtime/translations/client_secrets");
}
