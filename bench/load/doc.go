// Package load is the clients: it puts one kind of load on a proxy and tells
// how much work was done and how long each piece of it took. What clients meet
// (resets, refusals, silence) is counted, not returned: a load goes on as real
// clients do, and every wait of theirs has an end.
//
// A load is prepared by its New function, so that connecting is not measured
// where it is not the point, then run as often as wanted, then closed. Its
// methods belong to one goroutine; two loads can run at the same time.
package load
