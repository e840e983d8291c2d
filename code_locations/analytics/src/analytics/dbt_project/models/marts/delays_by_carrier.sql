select
    flights.carrier_code,
    airlines.carrier_name,
    {{ delay_measures() }}
from {{ ref('stg_flights') }} as flights
left join {{ ref('stg_airlines') }} as airlines on airlines.carrier_code = flights.carrier_code
group by flights.carrier_code, airlines.carrier_name
