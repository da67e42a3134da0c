use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn record(version: u64, adjust: impl FnOnce(&mut UserRecord)) -> Arc<UserRecord> {
    let json =
        format!(r#"{{"name":"alice","version":{version},"password_hash":"x","enabled":true}}"#);
    let mut record = serde_json::from_str(&json).expect("a record");
    adjust(&mut record);
    Arc::new(record)
}

fn at(unix_s: u64) -> Moment {
    Moment {
        instant: Instant::now(),
        unix_s,
    }
}

fn admit(accounts: &Accounts, record: &Arc<UserRecord>) -> Result<Arc<Seat>, Reason> {
    accounts.admit(record, HERE, at(1000))
}

#[test]
fn a_user_has_so_many_connections() {
    let (accounts, two) = (
        Accounts::default(),
        record(1, |record| record.limits.connections = Some(2)),
    );
    let first = admit(&accounts, &two).expect("the first");
    let second = admit(&accounts, &two).expect("the second");
    assert_eq!(
        admit(&accounts, &two).err(),
        Some(Reason::TooManyConnections)
    );
    drop(second);
    let _third = admit(&accounts, &two).expect("a place was given back");
    let one = record(2, |record| record.limits.connections = Some(1));
    accounts.update(&one, at(1000));
    drop(first);
    assert_eq!(
        admit(&accounts, &two).err(),
        Some(Reason::TooManyConnections),
        "the newest record counts"
    );
}

#[test]
fn a_login_is_refused_for_its_true_reason() {
    type Case = (Reason, fn(&mut UserRecord));
    let cases: [Case; 5] = [
        (Reason::UserDisabled, |record| record.enabled = false),
        (Reason::PackageExpired, |record| {
            record.valid_until = Some(1000);
        }),
        (Reason::PackageNotStarted, |record| {
            record.valid_from = Some(1001);
        }),
        (Reason::QuotaExhausted, |record| record.bytes_left = Some(0)),
        (Reason::ClientAddressDenied, |record| {
            record.limits.client_addresses = vec!["198.51.100.0/24".parse().expect("a net")];
        }),
    ];
    for (reason, adjust) in cases {
        let refused = admit(&Accounts::default(), &record(1, adjust));
        assert_eq!(refused.err(), Some(reason));
    }
    let just = record(1, |record| {
        (record.valid_from, record.valid_until) = (Some(1000), Some(1001));
        record.bytes_left = Some(1);
        record.limits.client_addresses = vec!["192.0.2.0/24".parse().expect("a net")];
    });
    assert!(admit(&Accounts::default(), &just).is_ok());
}

#[test]
fn a_newer_record_ends_the_sessions_of_a_user_who_is_out() {
    type Case = (Reason, fn(&mut UserRecord));
    let cases: [Case; 4] = [
        (Reason::UserDisabled, |record| record.enabled = false),
        (Reason::PackageExpired, |record| {
            record.valid_until = Some(999);
        }),
        (Reason::QuotaExhausted, |record| record.bytes_left = Some(0)),
        (Reason::PasswordChanged, |record| {
            record.password_hash = "y".into();
        }),
    ];
    for (reason, adjust) in cases {
        let accounts = Accounts::default();
        let old = record(1, |_| {});
        let seat = admit(&accounts, &old).expect("let in");
        let changed = accounts
            .update(&record(2, adjust), at(1000))
            .expect("known");
        assert!(Arc::ptr_eq(&changed, seat.account()));
        assert_eq!(seat.account().ended(), Some(reason));
        assert!(
            admit(&accounts, &old).is_err(),
            "a shard may have the old record"
        );
        assert!(
            accounts.update(&record(1, |_| {}), at(1000)).is_none(),
            "overtaken"
        );
        accounts.update(&record(3, |_| {}), at(1000));
        assert!(
            admit(&accounts, &record(3, |_| {})).is_ok(),
            "{reason:?}: back in"
        );
        assert_eq!(
            seat.account().ended(),
            Some(reason),
            "what has ended stays so"
        );
    }
}

#[test]
fn a_new_password_lets_its_user_in_at_once() {
    let accounts = Accounts::default();
    let _seat = admit(&accounts, &record(1, |_| {})).expect("let in");
    let new = record(2, |record| record.password_hash = "y".into());
    accounts.update(&new, at(1000));
    assert!(admit(&accounts, &new).is_ok());
    let old = admit(&accounts, &record(1, |_| {}));
    assert_eq!(old.err(), Some(Reason::AuthenticationFailed));
}

#[test]
fn a_client_whose_address_is_no_longer_allowed_is_out_and_others_stay() {
    let accounts = Accounts::default();
    let old = record(1, |_| {});
    let there = "198.51.100.7".parse().expect("an address");
    let (here, there) = (
        admit(&accounts, &old).expect("let in"),
        accounts.admit(&old, there, at(1000)).expect("let in"),
    );
    let only_here = record(2, |record| {
        record.limits.client_addresses = vec!["192.0.2.1/32".parse().expect("a net")];
    });
    let account = accounts.update(&only_here, at(1000)).expect("known");
    assert_eq!(account.verdict(here.client()), None);
    let reason = account.verdict(there.client());
    assert_eq!(reason, Some(Reason::ClientAddressDenied));
    assert!(here.serves(&old) && !there.serves(&old));
}

#[test]
fn a_package_ends_by_the_clock() {
    let accounts = Accounts::default();
    let until = record(1, |record| record.valid_until = Some(1001));
    let seat = admit(&accounts, &until).expect("let in");
    assert!(accounts.look(at(1000)).is_empty());
    assert_eq!(accounts.look(at(1001)).len(), 1);
    assert_eq!(seat.account().ended(), Some(Reason::PackageExpired));
    assert!(accounts.look(at(1002)).is_empty(), "once");
}

#[test]
fn a_package_that_is_used_up_is_not_full_again_by_itself() {
    let accounts = Accounts::default();
    let full = record(1, |record| record.bytes_left = Some(1000));
    let seat = admit(&accounts, &full).expect("let in");
    assert_eq!(seat.account().take(600), 1000, "some ahead");
    assert_eq!(seat.account().take(1), 0);
    seat.account().end(Reason::QuotaExhausted);
    let same = record(2, |record| record.bytes_left = Some(1000));
    accounts.update(&same, at(1000));
    assert_eq!(admit(&accounts, &same).err(), Some(Reason::QuotaExhausted));
    accounts.set_bytes_left(&full.name, 5000, at(1000));
    assert!(admit(&accounts, &same).is_ok());
    let ended = accounts.set_bytes_left(&full.name, 0, at(1000));
    let ended = ended.and_then(|account| account.ended());
    assert_eq!(ended, Some(Reason::QuotaExhausted));
}

#[test]
fn a_user_who_was_removed_is_out_until_there_is_one_of_that_name_again() {
    let accounts = Accounts::default();
    let old = record(1, |_| {});
    let seat = admit(&accounts, &old).expect("let in");
    assert!(accounts.remove(&old.name).is_some() && accounts.remove(&old.name).is_none());
    assert_eq!(seat.account().ended(), Some(Reason::UserDeleted));
    assert_eq!(admit(&accounts, &old).err(), Some(Reason::UserDeleted));
    let again = record(2, |_| {});
    accounts.update(&again, at(1000));
    assert!(admit(&accounts, &again).is_ok());
}

#[test]
fn accounts_without_connections_are_forgotten() {
    let accounts = Accounts::default();
    let seat = admit(&accounts, &record(1, |_| {})).expect("let in");
    for _ in 0..2 * ACCOUNT_KEPT_LOOKS {
        accounts.look(at(1000));
    }
    assert_eq!(accounts.connected().len(), 1);
    drop(seat);
    for _ in 0..ACCOUNT_KEPT_LOOKS {
        assert_eq!(accounts.lock().len(), 1);
        accounts.look(at(1000));
    }
    assert!(accounts.lock().is_empty());
}
