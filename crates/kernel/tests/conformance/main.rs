//! One suite over the executor on the real kernel and the fake: what both promise.
//!
//! What only the real kernel has (packets, the host's facts) is tested beside it, in the same
//! laboratory. The real one works in namespaces that the test makes; the machine's network is never touched.

mod announce;
mod facts;
mod lab;
mod objects;
mod overlay;
mod suite;
mod tunnel;

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
    sockets_of_several_sandboxes_are_made_together,
    a_station_that_moved_stays_where_it_is,
    a_tunnel_without_a_bridge_forgets_a_station,
    a_tunnel_changes_its_address_and_keeps_what_it_knows,
    a_tunnel_joins_segments_as_it_is_told,
    a_number_that_is_taken_is_refused,
    a_number_is_free_once_its_network_is_gone,
    a_network_that_goes_leaves_the_sandbox_its_names,
    names_of_the_host_are_no_matter,
    tunnels_work_over_ipv6_and_without_a_bridge,
    a_lost_network_is_told_and_made_again,
    ten_thousand_stations_are_told,
    ten_thousand_are_routed_to,
    more_stations_than_have_shortcuts_stand,
    stations_of_one_address_stand_and_go,
    thousands_that_are_gone_are_removed_again,
    an_encrypted_tunnel_is_made_and_found_again,
    a_tunnel_that_is_open_stands,
    a_tunnel_with_an_inner_address_has_its_socket_inside,
    a_tunnel_moves_inside_and_out_again,
    a_lost_tunnel_is_told_and_made_again,
    a_name_that_another_has_is_no_tunnel,
    a_tunnel_of_the_kernel_has_a_key_and_peers,
    an_inner_address_moves_to_the_key_that_is_used_next,
);
