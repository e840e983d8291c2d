-- An airport of the sample is either left (New York) or arrived at, never both; a wider source would have both figures.
with departures as (
    select
        origin_airport as airport,
        count(*) as departures,
        avg(departure_delay_minutes) as average_departure_delay_minutes
    from {{ ref('stg_flights') }}
    group by origin_airport
),

arrivals as (
    select
        destination_airport as airport,
        count(*) as arrivals,
        avg(arrival_delay_minutes) as average_arrival_delay_minutes
    from {{ ref('stg_flights') }}
    group by destination_airport
),

both_ways as (
    select
        coalesce(departures.airport, arrivals.airport) as airport,
        coalesce(departures.departures, 0) as departures,
        coalesce(arrivals.arrivals, 0) as arrivals,
        departures.average_departure_delay_minutes,
        arrivals.average_arrival_delay_minutes
    from departures
    full join arrivals on arrivals.airport = departures.airport
)

select
    both_ways.airport,
    airports.airport_name,
    both_ways.departures,
    both_ways.arrivals,
    both_ways.average_departure_delay_minutes,
    both_ways.average_arrival_delay_minutes
from both_ways
left join {{ ref('stg_airports') }} as airports on airports.airport = both_ways.airport
