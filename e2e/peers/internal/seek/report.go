package seek

// A Report is what a scan found and how much it read.
type Report struct {
	// Scanned counts the bytes that were read and searched.
	Scanned int64 `json:"scanned"`
	// Unreadable lists what could not be read, each with the reason.
	Unreadable []string `json:"unreadable"`
	// UnreadableOmitted counts what Unreadable had no room for.
	UnreadableOmitted int `json:"unreadable_omitted,omitempty"`
	// Hits lists the finds, one for each spelling in each place.
	Hits []Hit `json:"hits"`

	index map[[2]string]int
}

// A Hit is one or more finds of one spelling in one place: a file, or a mapping of a process.
type Hit struct {
	Place    string `json:"place"`
	Spelling string `json:"spelling"`
	// Offset is where the first begins: in the file, or as an address.
	Offset int64 `json:"offset"`
	Count  int   `json:"count"`
}

// mostListed bounds what a report lists.
const mostListed = 10_000

// NewReport makes an empty report, whose lists are empty rather than absent in JSON.
func NewReport() *Report {
	return &Report{Unreadable: []string{}, Hits: []Hit{}, index: map[[2]string]int{}}
}

func (r *Report) hit(place string, m Match) {
	key := [2]string{place, m.Spelling}
	if at, known := r.index[key]; known {
		r.Hits[at].Count++
		return
	}
	if len(r.Hits) < mostListed {
		r.index[key] = len(r.Hits)
		r.Hits = append(r.Hits, Hit{place, m.Spelling, m.Offset, 1})
	}
}

func (r *Report) unreadable(what string, err error) {
	if len(r.Unreadable) < mostListed {
		r.Unreadable = append(r.Unreadable, what+": "+err.Error())
	} else {
		r.UnreadableOmitted++
	}
}
