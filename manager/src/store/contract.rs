//! What every store must do, as tests that run against each of them.
//!
//! A store's own tests implement [`Fixture`] and call [`contract_tests!`] once.

pub(super) mod events;
pub(super) mod operators;
pub(super) mod presence;
pub(super) mod records;
pub(super) mod terms;
pub(super) mod usage;

use std::{sync::Arc, time::Duration};

use super::Store;

/// A way to get at a store of some kind, empty at first.
pub(super) trait Fixture {
    /// The store.
    fn store(&self) -> Arc<dyn Store>;
    /// Lets `time` pass for the store.
    fn advance(&self, time: Duration) -> impl Future<Output = ()>;
    /// Looks at what a clause left in the store, where that can be seen.
    fn inspect(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }
}

/// Makes one test function of each clause of the contract, with `$attribute` on it, each on a fresh
/// `$fixture`.
macro_rules! contract_tests {
    ($fixture:expr, #[$attribute:meta]) => {
        $crate::store::contract::contract_tests!(@each $fixture, #[$attribute], records {
            the_store_answers
            a_user_is_created_once
            one_of_many_creators_wins
            a_change_raises_the_version
            no_version_is_met_twice
            one_of_many_updates_of_a_version_wins
            lists_go_on_behind_the_cursor
            a_node_enrols_any_number_of_times
            an_assignment_is_remembered
            a_pop_has_one_credential
            enrolment_keys_come_and_go
            the_first_admin_token_is_made_once
            replaced_admin_tokens_are_gone
            the_signing_key_stays
        });
        $crate::store::contract::contract_tests!(@each $fixture, #[$attribute], terms {
            limits_labels_and_package_are_kept
            a_renewal_adds_up_however_many_renew_at_once
            a_refused_change_leaves_the_user_alone
        });
        $crate::store::contract::contract_tests!(@each $fixture, #[$attribute], operators {
            admin_tokens_come_and_go
            operators_cannot_lock_themselves_out
            a_key_belongs_to_the_first_request
            a_key_is_free_again_after_a_day
            blocks_are_found_by_any_of_their_ids
        });
        $crate::store::contract::contract_tests!(@each $fixture, #[$attribute], events {
            what_pops_must_hear_is_told_in_order
            what_changed_nothing_is_not_told
            a_cursor_from_elsewhere_is_a_gap
        });
        $crate::store::contract::contract_tests!(@each $fixture, #[$attribute], presence {
            an_unknown_run_is_asked_for_the_whole_list
            changes_are_applied_in_any_gap_but_never_late
            a_new_run_starts_from_nothing
            a_silent_pop_is_offline_with_its_nodes
            the_last_report_of_a_node_counts
            a_full_list_replaces_what_was_known
            an_assigned_node_is_an_expected_tunnel
            a_deleted_pop_is_offline
            a_nonce_is_granted_once
            a_nonce_is_granted_again_after_its_time
        });
        $crate::store::contract::contract_tests!(@each $fixture, #[$attribute], usage {
            a_batch_is_counted_once_however_often_it_comes
            a_batch_that_does_not_follow_is_refused
            streams_and_pops_count_by_themselves
            one_of_many_repetitions_counts
            any_order_of_losses_and_repetitions_counts_everything_once
            usage_outlives_its_user_and_not_into_the_next_one
            a_package_starts_again_and_the_total_goes_on
            a_series_holds_every_point_at_each_resolution
            points_past_their_time_are_gone
            who_relays_most_comes_first
            sessions_run_in_the_last_stream_only
            standings_come_in_the_order_they_were_asked
        });
    };
    (@each $fixture:expr, #[$attribute:meta], $part:ident { $($clause:ident)* }) => {$(
        #[$attribute]
        async fn $clause() {
            let fixture = $fixture;
            $crate::store::contract::$part::$clause(&fixture).await;
            $crate::store::contract::Fixture::inspect(&fixture).await;
        }
    )*};
}
pub(super) use contract_tests;
