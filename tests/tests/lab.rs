//! The lab proves that its routers and wires are what they are said to be.

use std::time::Duration;

use tests::lab::{
    KINDS, Lab,
    prove::{self, Conduct, Prober},
};

use crate::{Tests, fresh_prefix, listed, start_lab};

pub(crate) fn tests() -> Tests {
    let mut all: Tests = listed![
        a_home_behind_a_carrier_is_mapped_twice,
        neighbours_behind_a_carrier_meet_at_its_hairpin,
        no_packet_is_faster_than_its_wire,
        a_wire_loses_the_share_it_should,
        a_cut_wire_passes_nothing_until_it_is_on_again,
        a_rebooted_router_maps_anew,
        a_renumbered_router_shows_its_new_address,
        a_pulled_cable_can_be_put_back,
        what_is_wrong_with_a_spec_is_said,
    ];
    for (kind, nat) in KINDS {
        let test = move || assert_eq!(prove::measure(&fresh_prefix(), kind).unwrap(), Conduct::expected(&nat));
        all.push((format!("lab::a_router_of_kind_{kind}_does_what_it_should"), Box::new(test)));
    }
    all
}

fn a_home_behind_a_carrier_is_mapped_twice() {
    let lab = start_lab("A=port:up=K K=cgn");
    let prober = Prober::new(&lab).unwrap();

    let mapped = prober.mapping("A1", 5000).unwrap();

    assert_eq!((mapped.kind, mapped.ports), ("EIM", "random"));
    assert_eq!(mapped.seen.unwrap().ip(), lab.external("K").unwrap());
    assert_eq!(prober.filtering("A1", 5001).unwrap(), "APDF");
}

fn neighbours_behind_a_carrier_meet_at_its_hairpin() {
    for (hairpin, expected) in [("yes", "external"), ("no", "no")] {
        let lab = start_lab(&format!("A=full:up=K B=full:up=K K=cgn:hairpin={hairpin}"));

        let met = Prober::new(&lab).unwrap().meets(["A1", "B1"], 5000).unwrap();

        assert_eq!(met, expected);
    }
}

fn no_packet_is_faster_than_its_wire() {
    let lab = start_lab("A=port:wire=delay~20ms");

    let times = prove::one_way_times(&lab, "A1", 200).unwrap();

    let (least, margin) = (Duration::from_millis(20), Duration::from_millis(2));
    assert_eq!(times.len(), 200);
    assert!(times[0] >= least && times[0] < least + margin, "{:?}", times[0]);
}

fn a_wire_loses_the_share_it_should() {
    let lab = start_lab("A=port:wire=loss~10%");

    let arrived = prove::one_way_times(&lab, "A1", 1000).unwrap().len();

    assert!((860..940).contains(&arrived), "{arrived}");
}

fn a_cut_wire_passes_nothing_until_it_is_on_again() {
    let lab = start_lab("A=port:wire=x");
    let mapping = |port| Prober::new(&lab).unwrap().mapping("A1", port).unwrap().kind;
    assert_eq!(mapping(5000), "EIM");

    lab.wire("A", &"cut".parse().unwrap()).unwrap();
    assert_eq!(mapping(5001), "blocked");

    lab.wire("A", &"on".parse().unwrap()).unwrap();
    assert_eq!(mapping(5002), "EIM");
}

fn a_rebooted_router_maps_anew() {
    let lab = start_lab("A=port-rand");
    let seen = || Prober::new(&lab).unwrap().mapping("A1", 5000).unwrap().seen;
    let before = seen();
    assert_eq!(before, seen());

    lab.reboot("A").unwrap();

    assert_ne!(before, seen());
}

fn a_renumbered_router_shows_its_new_address() {
    let mut lab = start_lab("A=port");
    let (old, before) = (lab.external("A").unwrap(), seen_address(&lab));
    assert_eq!(before, old);

    lab.renumber("A").unwrap();

    let (new, after) = (lab.external("A").unwrap(), seen_address(&lab));
    assert_eq!(after, new);
    assert_ne!(new, old);
}

fn seen_address(lab: &Lab) -> std::net::IpAddr {
    Prober::new(lab).unwrap().mapping("A1", 5000).unwrap().seen.unwrap().ip()
}

fn a_pulled_cable_can_be_put_back() {
    let lab = start_lab("A=linux");
    let mapping = |port| Prober::new(&lab).unwrap().mapping("A1", port).unwrap().kind;

    lab.cable("A", false).unwrap();
    assert_eq!(mapping(5000), "blocked");

    lab.cable("A", true).unwrap();
    assert_eq!(mapping(5001), "EIM");
}

fn what_is_wrong_with_a_spec_is_said() {
    let error = Lab::start(&fresh_prefix(), "A=port:up=K").unwrap_err();
    assert_eq!(error.to_string(), "there is no carrier K");
}
