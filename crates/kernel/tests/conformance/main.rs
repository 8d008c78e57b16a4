//! One suite over the executor on the real kernel and the fake: what both promise.
//!
//! The real one works in namespaces that the test makes; the machine's network is never touched.

mod lab;
mod objects;
mod suite;

/// Runs each function of the suite over both executors.
macro_rules! over_both {
    ($($name:ident),+ $(,)?) => {
        mod fake {
            $(#[test]
            fn $name() {
                crate::suite::$name(&crate::lab::Lab::fake());
            })+
        }

        mod real {
            $(#[test]
            fn $name() {
                vw_testkit::require_root!();
                crate::suite::$name(&crate::lab::Lab::real());
            })+
        }
    };
}

over_both!(
    what_was_applied_is_observed,
    a_plan_may_be_applied_twice,
    undo_leaves_nothing,
    what_is_ours_is_found_without_being_expected,
    a_retired_name_is_free_at_once,
    a_name_taken_by_another_is_refused,
    links_change_in_place,
    a_pair_moves_to_another_sandbox,
    routes_and_parameters_are_replaced,
    every_failing_step_is_told_and_undone,
    a_lost_namespace_is_told_and_removed,
    an_attachment_leaves_a_lost_namespace,
    a_dead_source_is_refused,
    what_others_took_away_is_put_back,
    a_missing_kind_of_link_is_told,
    a_bridge_takes_many_ports,
    held_ports_are_held,
    interfaces_are_listed,
);
