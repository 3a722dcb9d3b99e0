//! Two channels to one, and one to two.

/// `samples` of so many interleaved channels in as many as are wanted: the mean of two, or one in both. What has them
/// already is not touched; else `room` has them.
pub(crate) fn reshape<'a>(samples: &'a [f32], [from, to]: [usize; 2], room: &'a mut Vec<f32>) -> &'a [f32] {
    if from == to {
        return samples;
    }
    room.clear();
    if from == 1 {
        room.extend(samples.iter().flat_map(|sample| [*sample; 2]));
    } else {
        room.extend(samples.as_chunks().0.iter().map(|[left, right]| f32::midpoint(*left, *right)));
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_heard_in_both_and_of_both_there_is_the_mean() {
        let mut room = vec![9.0];
        assert_eq!(reshape(&[0.5, 0.25], [1, 2], &mut room), [0.5, 0.5, 0.25, 0.25]);
        assert_eq!(reshape(&[0.5, 0.25, -1.0, 1.0], [2, 1], &mut room), [0.375, 0.0]);
        assert_eq!(reshape(&[0.5, 0.25], [2, 2], &mut room), [0.5, 0.25]);
    }
}
