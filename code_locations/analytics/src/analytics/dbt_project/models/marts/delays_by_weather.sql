with weather as (
    select
        airport,
        observed_hour,
        case
            when visibility_miles < 3 then 'low visibility'
            when precipitation_inches > 0 then 'rain or snow'
            when wind_speed_mph >= 25 then 'strong wind'
            else 'calm'
        end as condition
    from {{ ref('stg_weather') }}
),

flights as (
    select
        flights.departure_delay_minutes,
        flights.arrival_delay_minutes,
        flights.is_cancelled,
        coalesce(weather.condition, 'not observed') as condition
    from {{ ref('stg_flights') }} as flights
    left join weather
        on weather.airport = flights.origin_airport
        and weather.observed_hour = flights.scheduled_hour
)

select
    condition,
    {{ delay_measures() }}
from flights
group by condition
