use super::*;

fn router(mapping: Mapping, ports: Ports) -> Router {
    let (mapping, ports, filtering) = (Some(mapping), Some(ports), Some(Filtering::Apdf));
    Router { mapping, ports, filtering, poisoned: Some(false), port: Some(40_000) }
}

fn easy() -> Router {
    router(Mapping::Eim, Ports::Preserving)
}

fn hard(ports: Ports) -> Router {
    router(Mapping::Apdm, ports)
}

fn pair(ours: Router, theirs: Router) -> Pair {
    Pair { ours, theirs, their_port: 5000, rtt: Duration::from_millis(40), leads: true }
}

const RANDOM: Ports = Ports::Random;
const SEQUENCE: Ports = Ports::Sequential { step: 1 };
const BLOCK: Ports = Ports::Block { first: 20_480, size: 512 };

fn all() -> Vec<Router> {
    let lenient = Router { filtering: Some(Filtering::Adf), ..router(Mapping::Adm, RANDOM) };
    let spoilt = Router { poisoned: Some(true), ..easy() };
    vec![easy(), spoilt, hard(RANDOM), hard(SEQUENCE), hard(BLOCK), lenient, router(Mapping::Adm, BLOCK)]
}

#[test]
fn parts_table() {
    let lenient = Router { filtering: Some(Filtering::Adf), ..router(Mapping::Adm, RANDOM) };
    let wide = hard(Ports::Block { first: 0, size: 4096 });
    for (ours, theirs, expected) in [
        (easy(), easy(), Some(Part::Restart)),
        (hard(RANDOM), easy(), Some(Part::Open)),
        (easy(), hard(BLOCK), Some(Part::Probe)),
        (hard(SEQUENCE), hard(SEQUENCE), Some(Part::Meet)),
        (hard(SEQUENCE), hard(BLOCK), Some(Part::Meet)),
        (hard(BLOCK), hard(BLOCK), Some(Part::Meet)),
        (hard(BLOCK), wide, None),
        (hard(SEQUENCE), wide, Some(Part::Meet)),
        (lenient, hard(RANDOM), Some(Part::Open)),
        (hard(BLOCK), lenient, Some(Part::Probe)),
        (hard(RANDOM), hard(RANDOM), None),
        (hard(RANDOM), hard(SEQUENCE), None),
    ] {
        assert_eq!(pair(ours, theirs).part(), expected, "{ours:?} and {theirs:?}");
    }
}

#[test]
fn the_two_sides_take_parts_that_fit() {
    for ours in all() {
        for theirs in all() {
            let here = pair(ours, theirs);
            let there = Pair { ours: theirs, theirs: ours, leads: false, ..here };
            let fits = match here.part() {
                Some(Part::Open) => there.part() == Some(Part::Probe),
                Some(Part::Probe) => there.part() == Some(Part::Open),
                same => there.part() == same,
            };
            assert!(fits, "{ours:?} and {theirs:?}: {:?} and {:?}", here.part(), there.part());
        }
    }
}

#[test]
fn no_plan_has_more_packets_or_sockets_than_a_router_bears() {
    for ours in all() {
        for theirs in all() {
            let Some(plan) = pair(ours, theirs).plan(0, 1) else { continue };
            let ports: usize = plan.volleys.iter().map(|volley| volley.ports.len()).sum();
            let packets = ports * usize::from(plan.sockets.max(1));
            assert!((1..=MAX_PROBES).contains(&packets), "{packets} for {ours:?} and {theirs:?}");
            assert!(packets <= pair(ours, theirs).cost(), "{packets} for {ours:?} and {theirs:?}");
            assert!(plan.sockets <= MAX_SOCKETS);
            assert!(plan.volleys.is_sorted_by_key(|volley| volley.after));
            assert!(plan.volleys.iter().all(|volley| volley.after < plan.patience));
        }
    }
}

#[test]
fn who_probes_is_there_until_the_last_packet_of_who_has_heard_late_that_it_may_open() {
    for ports in [RANDOM, BLOCK, SEQUENCE] {
        let (open, probe) = (pair(hard(ports), easy()), pair(easy(), hard(ports)));
        let last = open.plan(0, 1).unwrap().volleys.last().unwrap().after;
        let patience = probe.plan(0, 1).unwrap().patience;
        assert!(patience > SAID_AGAIN + last + open.rtt, "{ports:?}: {patience:?} of {last:?}");
    }
}

#[test]
fn sequences_are_tried_again_at_once_and_what_costs_more_is_not() {
    let table = [(SEQUENCE, SEQUENCE, true), (SEQUENCE, BLOCK, false), (BLOCK, BLOCK, false), (RANDOM, RANDOM, false)];
    for (ours, theirs, expected) in table {
        assert_eq!(pair(hard(ours), hard(theirs)).is_quick_to_repeat(), expected, "{ours:?} and {theirs:?}");
    }
    let easy = |ports| [pair(hard(ports), easy()), pair(easy(), hard(ports))].map(|pair| pair.is_quick_to_repeat());
    assert_eq!([SEQUENCE, BLOCK, RANDOM].map(easy), [[true; 2], [false; 2], [false; 2]]);
}

#[test]
fn the_odds_of_a_random_router_are_those_of_256_sockets_and_1024_ports() {
    let open = pair(hard(RANDOM), easy()).plan(0, 1).unwrap();
    let probe = pair(easy(), hard(RANDOM)).plan(0, 1).unwrap();
    assert_eq!((open.sockets, probe.volleys[0].ports.len()), (256, 1024));
    assert_eq!((open.volleys[0].ttl, probe.volleys[0].ttl), (Some(OPENER_TTL), None));
}

#[test]
fn a_router_that_may_be_spoilt_gets_packets_that_nothing_has_come_before_from_some_sockets() {
    let unknown = Router { poisoned: None, ..easy() };
    for (ports, probes) in [(RANDOM, MAX_PROBES as u32), (BLOCK, 512), (SEQUENCE, 20)] {
        let plan = pair(hard(ports), unknown).plan(0, 1).unwrap();
        assert!((1..plan.sockets).contains(&plan.volleys[0].from) && plan.volleys[0].ttl.is_some(), "{plan:?}");
        let late = |volley: &Volley| volley.after > GAP * probes && volley.from >= plan.sockets;
        assert!(plan.volleys[1..].iter().all(late), "{plan:?}");
    }
}

#[test]
fn after_a_guess_that_may_have_spoilt_a_router_a_fresh_socket_is_probed_from_before_anything_is_sent_there() {
    let unknown = Router { poisoned: None, ..easy() };
    assert!(Pair::needs_scout(&unknown, &hard(BLOCK), 1) && !Pair::needs_scout(&unknown, &hard(BLOCK), 0));
    assert!(!Pair::needs_scout(&easy(), &hard(BLOCK), 1), "nothing spoils it");

    let (open, probe) = (pair(hard(BLOCK), unknown), pair(unknown, hard(BLOCK)));
    let again = open.plan(1, 1).unwrap();
    assert!(again.volleys.iter().all(|volley| volley.ttl.is_none() && volley.ports == [40_000]));
    let probed = probe.plan(1, 1).unwrap();
    assert_eq!(probed.sockets, 1);
    let block_takes = probed.volleys[0].after + GAP * 512;
    assert!(again.volleys[0].after > block_takes, "{again:?}");
    assert!(open.plan(0, 1).unwrap().volleys[0].ttl.is_some(), "at first what is short-lived is quicker");
}

#[test]
fn who_walks_through_a_block_takes_all_of_its_ports_towards_one() {
    for theirs in [hard(BLOCK), hard(SEQUENCE)] {
        let plan = Pair { leads: false, ..pair(hard(BLOCK), theirs) }.plan(0, 1).unwrap();
        assert!(plan.volleys.iter().all(|volley| volley.ports.len() == 1), "{plan:?}");
        assert_eq!(plan.volleys.iter().map(|volley| volley.is_fresh).collect::<Vec<_>>(), [false, true, false, true]);
        assert_eq!(plan.volleys[0].ports, plan.volleys[1].ports);
    }
}

#[test]
fn each_side_goes_first_once_where_fresh_sockets_have_not_helped() {
    let goes_first = |leads, attempt| {
        let volleys = Pair { leads, ..pair(easy(), easy()) }.plan(attempt, 1).unwrap().volleys;
        volleys[0].after < Duration::from_millis(30) && volleys[0].ttl.is_none()
    };
    assert_eq!([1, 2].map(|attempt| goes_first(true, attempt)), [false, true]);
    assert_eq!([1, 2].map(|attempt| goes_first(false, attempt)), [true, false]);
}

#[test]
fn a_port_that_may_have_been_spoilt_by_foresight_is_left_for_one_that_was_just_seen() {
    let unknown = Router { poisoned: None, ..easy() };
    assert!(Pair::needs_scout(&unknown, &hard(SEQUENCE), 0) && !Pair::needs_scout(&easy(), &hard(SEQUENCE), 0));
    assert!(!Pair::needs_scout(&unknown, &hard(RANDOM), 0), "nothing was foreseen");

    let (probe, open) = (pair(unknown, hard(SEQUENCE)), pair(hard(SEQUENCE), unknown));
    assert_eq!(probe.plan(0, 1).unwrap().sockets, 1);
    assert!(open.plan(0, 1).unwrap().volleys.iter().all(|volley| volley.ports == [40_000]));
    let unseen = Router { port: None, ..unknown };
    assert_eq!(pair(unseen, hard(SEQUENCE)).plan(0, 1).unwrap().sockets, 0, "from the socket of all calls");
    let aim = pair(hard(SEQUENCE), unseen).their_port;
    assert!(pair(hard(SEQUENCE), unseen).plan(0, 1).unwrap().volleys.iter().all(|volley| volley.ports == [aim]));
}

#[test]
fn a_spoilt_router_is_sent_nothing_before_its_own_side_has_sent() {
    let spoilt = Router { poisoned: Some(true), ..easy() };
    let (first, second) = (pair(spoilt, easy()).plan(0, 1).unwrap(), pair(easy(), spoilt).plan(0, 1).unwrap());
    assert_eq!((first.volleys[0].after, first.volleys[0].ttl), (Duration::ZERO, None));
    assert!(second.volleys[0].after > Duration::from_millis(40));
    let both = pair(spoilt, spoilt).plan(0, 1).unwrap();
    assert_eq!((both.volleys[0].after, both.volleys[0].ttl), (Duration::ZERO, Some(OPENER_TTL)));
    let open = pair(hard(RANDOM), spoilt).plan(0, 1).unwrap();
    let probed = GAP * MAX_PROBES as u32;
    assert!(open.volleys[1..].iter().all(|volley| volley.after > probed), "{open:?}");
}
